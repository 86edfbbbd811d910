"""One endpoint, as its clients need it: which it is, where it is, and the token to call it with."""

from infra.client.endpoint import Deployed, Endpoint, find, read, stack_outputs
from infra.client.errors import BadTarget, ClientError, NoAnswer
from infra.client.rest import http_client
from infra.client.token import Token

__all__ = [
    "BadTarget",
    "ClientError",
    "Deployed",
    "Endpoint",
    "NoAnswer",
    "Token",
    "find",
    "http_client",
    "read",
    "stack_outputs",
]
