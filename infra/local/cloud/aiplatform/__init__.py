"""The local Vertex AI: models, endpoints, deployments, predictions and operations, v1 and v1beta1 over REST.

Owns the service's rules and Google's wording of their refusals. Leaves the containers to `infra.local.container`, and
projects, access, quotas, logs, storage and the running of operations to the core of the local cloud.
"""
