"""LoRA adapters from beside the stack file, as objects in the stack's bucket.

Owns the objects. The content of an adapter is a part of its path: a server keeps what it has loaded under a path, so
other bytes under the same one would be served by new replicas only. Who may read the bucket is decided in
`components.artifacts`, what an adapter has to be in `infra.recipes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.artifacts import MODEL_PREFIX
from infra.recipes import StagedAdapter

TOKEN = "vertex-vllm:adapters:StagedAdapters"

UPLOAD_TIMEOUT = "60m"
"""pulumi-gcp waits four minutes for an object by default: too short for some hundred MB over a home's uplink."""

_JSON = ".json"
_TYPES: Mapping[bool, str] = {True: "application/json", False: "application/octet-stream"}


@dataclass(frozen=True, kw_only=True)
class StagedAdaptersArgs:
    """What goes where.

    Attributes:
        bucket: Name of the bucket.
        adapters: The adapters.
    """

    bucket: pulumi.Input[str]
    adapters: tuple[StagedAdapter, ...]


class StagedAdapters(pulumi.ComponentResource):
    """The uploaded adapters.

    Attributes:
        uris: What requests say in `lora_id`, by the adapters' names: `gs://` prefixes.
    """

    uris: pulumi.Output[Mapping[str, str]]

    def __init__(
        self, name: str, args: StagedAdaptersArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(parent=self),
            pulumi.ResourceOptions(
                custom_timeouts=pulumi.CustomTimeouts(create=UPLOAD_TIMEOUT, update=UPLOAD_TIMEOUT)
            ),
        )
        uris: dict[str, pulumi.Input[str]] = {}
        for adapter in args.adapters:
            # Other content is another resource, not a replacement of this one: going back to earlier content after an
            # update that was cut off would delete what it has just made.
            digest = adapter.digest()
            prefix = f"{MODEL_PREFIX}/lora/{adapter.name}/{digest}"
            uris[adapter.name] = pulumi.Output.concat("gs://", args.bucket, "/", prefix)
            for file in adapter.files:
                gcp.storage.BucketObject(
                    f"{name}-{adapter.name}-{digest}-{file}",
                    bucket=args.bucket,
                    name=f"{prefix}/{file}",
                    source=pulumi.FileAsset(adapter.path(file)),
                    content_type=_TYPES[file.endswith(_JSON)],
                    opts=child,
                )
        self.uris = pulumi.Output.all(**uris)
        self.register_outputs({"uris": self.uris})
