"""Identity and Access Management: service accounts, policies of every resource, roles and what they permit.

`policies` decides who may do what for all services; `handlers` serves the service accounts of iam.googleapis.com/v1.
Custom roles, keys, workload identity and deny policies are left alone (the README's table says so).
"""
