"""Cloud Monitoring: what of each Vertex AI serving quota is in use (v3), dashboards (v1) and alert policies (v3)."""
