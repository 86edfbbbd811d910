"""Cloud Quotas v1, read only: what the limits of a service's quotas are, by region."""
