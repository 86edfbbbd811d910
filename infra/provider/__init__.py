"""The native Pulumi provider `vertexserving`: a model, its deployment on an endpoint, the fate of a bucket, and
the look at what a destroy leaves.

pulumi-gcp has no resource for uploading a model or for deploying one, so these are made here over Google's own client
library (google-cloud-aiplatform). The package owns what happens between a resource's inputs and Vertex AI: chosen ids,
adoption of what a crashed run left behind, waiting for long-running operations, and the text of failures. It leaves to
`infra.plugin` how a provider is served, and to the program which model runs where.

`resources` holds the classes a program uses; it imports nothing of the rest, and the rest imports Google's libraries
only when a call needs them, because every preview starts this provider.
"""
