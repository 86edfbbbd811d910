"""A Google Cloud on loopback: a real server that speaks the REST of the services this product uses.

Owns the HTTP surface, durable state, long-running operations, identity, quotas and planned faults. Knows nothing of
Pulumi, stacks or components; starts containers only through `infra.local.container`. README.md says how to run it and
what of each service is emulated, simplified or absent.
"""
