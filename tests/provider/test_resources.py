"""The classes that a program uses agree with what the provider takes and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pulumi
import pytest

from infra.provider import resources
from infra.provider.bucket_disposal import BucketDisposal
from infra.provider.connect import Connector
from infra.provider.deployment import Deployment
from infra.provider.leftovers import LeftoverCheck
from infra.provider.model import Model
from tests.provider.samples import CONTAINER, MACHINE


class Recording(pulumi.runtime.Mocks):
    """Remembers what is registered."""

    def __init__(self) -> None:
        self.registered: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.registered[args.typ] = args.inputs
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(args.token)


PLACE: dict[str, Any] = {"project": "my-project", "location": "us-central1"}
COMMON: dict[str, Any] = {**PLACE, "display_name": "llama"}


@pytest.fixture
def registered() -> Iterator[dict[str, dict[str, Any]]]:
    """The inputs of one resource of each kind, registered on an event loop of its own; it is put away afterwards."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield register().registered
    loop.close()
    asyncio.set_event_loop(None)


def register() -> Recording:
    mocks = Recording()
    pulumi.runtime.set_mocks(mocks, preview=False)

    def program() -> Any:
        model = resources.Model(
            "m",
            **COMMON,
            container_spec=cast(Any, CONTAINER),
            model_id="m",
            hf_token="hf_x",
            artifact_uri="gs://bucket/x",
            labels={"a": "b"},
            keep_versions=True,
        )
        deployment = resources.Deployment(
            "d",
            **COMMON,
            endpoint="5",
            model="projects/p/locations/us-central1/models/m",
            machine_spec=cast(Any, MACHINE),
            spot=False,
            min_replica_count=1,
            max_replica_count=2,
            autoscaling_metric_specs=[],
            service_account="a@b.c",
            expiry="8h",
            deploy_request_timeout_seconds=60,
            traffic_percent=10,
            rollout={"strategy": "surge"},
        )
        disposal = resources.BucketDisposal("b", project="my-project", policy="keep")
        check = resources.LeftoverCheck("l", **PLACE, endpoint="projects/p/locations/us-central1/endpoints/5")
        return pulumi.Output.all(model.urn, deployment.urn, disposal.urn, check.urn)

    run: Any = pulumi.runtime.test
    run(program)()
    return mocks


@pytest.mark.parametrize("kind", [Model, Deployment, BucketDisposal, LeftoverCheck])
def test_every_input_can_be_given_and_is_named_as_the_provider_names_it(
    kind: Any, registered: dict[str, dict[str, Any]]
) -> None:
    schema = kind(Connector()).schema()
    assert set(registered[kind.token]) == set(schema["inputProperties"])


@pytest.mark.parametrize("kind", [Model, Deployment, BucketDisposal, LeftoverCheck])
def test_every_output_is_declared(kind: Any) -> None:
    declared = getattr(resources, kind.__name__).__annotations__
    outputs = kind(Connector()).schema()["properties"]
    snake = {"".join(f"_{c.lower()}" if c.isupper() else c for c in key) for key in outputs}
    assert snake <= set(declared)


def test_the_schema_marks_the_token() -> None:
    schema = Model(Connector()).schema()
    assert schema["inputProperties"]["hfToken"] == {"type": "string", "secret": True}
    assert "hfToken" not in schema["properties"]
