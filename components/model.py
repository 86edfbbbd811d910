"""The model as Vertex AI knows it: a container specification in the model registry.

Owns one uploaded model. What the specification says (image, arguments, environment) is decided in `infra.recipes`;
the Hugging Face token travels beside it as a secret and becomes an environment variable at upload only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pulumi

from infra.provider.resources import ContainerSpecArgs, Model
from infra.recipes import ContainerSpec

TOKEN = "vertex-vllm:model:UploadedModel"


@dataclass(frozen=True, kw_only=True)
class UploadedModelArgs:
    """What to upload.

    Attributes:
        project: Project id.
        region: Region of the model; the one that serves.
        display_name: Shown in the console, at most 128 characters.
        container: How the container is started, without any token.
        hf_token: Hugging Face read token, secret; None when the weights need none.
        labels: Labels of the model.
        keep_versions: Whether a change is another version of one model, and the earlier ones stay.
    """

    project: str
    region: str
    display_name: str
    container: ContainerSpec
    hf_token: pulumi.Input[str] | None = None
    labels: Mapping[str, str]
    keep_versions: bool = False


class UploadedModel(pulumi.ComponentResource):
    """One model in the registry.

    Attributes:
        model: Resource name, `projects/NUMBER/locations/R/models/ID`.
        version_id: Version of the model, a decimal string.
    """

    model: pulumi.Output[str]
    version_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: UploadedModelArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        model = Model(
            name,
            project=args.project,
            location=args.region,
            display_name=args.display_name,
            container_spec=cast("ContainerSpecArgs", args.container.inputs()),
            hf_token=args.hf_token,
            labels=dict(args.labels),
            keep_versions=args.keep_versions or None,
            opts=child,
        )
        self.model = model.name
        self.version_id = model.version_id
        self.register_outputs({"model": self.model, "version_id": self.version_id})
