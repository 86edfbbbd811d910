"""Cloud Monitoring v3, read only: what of each Vertex AI serving quota is in use."""
