"""A stand-in for the official `pulumi-resource-gcp` where that cannot be downloaded: a few types, over the
local cloud.

It implements the resource types and the function that this project's program uses (`plugin.RESOURCES`), with
the names, ids, outputs and replacement rules of pulumi-gcp 10.2.0, over plain REST. It makes the same calls
as the official plugin and reads the same settings (`gcp:*CustomEndpoint`, `gcp:accessToken`, the `GOOGLE_*`
environment). It refuses everything else by name, and it talks only to endpoints that are set, never to Google
by default. Whatever leaves the local stack uses the official plugin, which `pulumi` downloads by itself.
"""
