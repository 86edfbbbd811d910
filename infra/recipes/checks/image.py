"""The container image: where it may come from, that it is pinned, and that it runs on the machine."""

from __future__ import annotations

import re
from typing import Final

from infra.cards import ModelCard
from infra.recipes.catalog import ContainerImage, catalog
from infra.recipes.checks.report import Report
from infra.recipes.errors import UnknownImage, nearest
from infra.recipes.images import fitting_images, lacks, since

__all__ = ["check_image", "check_model_in_image"]

_KEY: Final = "container.image_uri"
_IMAGE: Final = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<path>[a-z0-9._/-]+?)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


def check_image(report: Report) -> ContainerImage | None:
    """Check the image; None when the catalogue does not have it."""
    uri, books = report.stack.container.image_uri, catalog()
    match = _IMAGE.fullmatch(uri)
    if match is None and uri.startswith(("https://", "http://", "docker://")):
        bare = uri.partition("://")[2]
        report.refuse(UnknownImage, _KEY, uri, "an image has no scheme.", remedy=f"image_uri: {bare}")
        return None
    if match is None:
        choices = nearest(uri, (image.uri for image in books.containers()))[:3]
        text = "is not an image: HOST/PATH:TAG or HOST/PATH@sha256:DIGEST, the path in lower case."
        report.refuse(UnknownImage, _KEY, uri, text, choices=choices, remedy=f"image_uri: {choices[0]}")
        return None
    host = match["host"]
    if not (host.endswith("-docker.pkg.dev") or host == "gcr.io" or host.endswith(".gcr.io")):
        registry = host if "." in host or ":" in host else "Docker Hub"
        text = (
            f"Vertex AI pulls from Artifact Registry (*-docker.pkg.dev) or gcr.io only, not from {registry}."
        )
        remedy = "copy the image to an Artifact Registry repository of your own"
        report.refuse(UnknownImage, _KEY, uri, text, remedy=remedy)
        return None
    if not (match["tag"] or match["digest"]):
        same = [i for i in books.containers() if i.uri.rpartition(":")[0] == uri and i.arch == "x86"]
        known = tuple(i.uri for i in reversed(same) if i.version_basis == "documented")[:3]
        text = "names no tag or digest, so it would mean another image every day."
        remedy = f"image_uri: {known[0] if known else uri + ':TAG'}"
        report.refuse(UnknownImage, _KEY, uri, text, choices=known, remedy=remedy)
        return None
    image = books.container(uri)
    moves = match["tag"] == "latest" or (image is not None and image.moves)
    if moves and not match["digest"]:
        report.warn(f"{_KEY}: the tag {match['tag']} moves; pin a dated tag or a digest.")
    if image is None:
        report.warn(
            f"{_KEY}: {uri} is not in the catalogue; its vLLM version is not known and no flag is checked. It must"
            " serve /generate and /ping on port 8080."
        )
        return None
    _on_machine(report, image)
    if image.flavour == "optimized":
        report.warn(f"{_KEY}: this is an optimized image, whose development has ended.")
    if image.vllm_version is None:
        report.warn(f"{_KEY}: nobody has documented this image's vLLM version; no flag is checked.")
    elif image.version_basis.startswith("reported"):
        report.warn(f"{_KEY}: its vLLM version, {image.vllm_version}, is {image.version_basis}.")
    return image


def check_model_in_image(report: Report, card: ModelCard, image: ContainerImage | None) -> None:
    """Check that the image's vLLM has the model's architecture and quantization, and is built for the GPU.

    Not checked where the version is not known, and for the image of a recipe that was published for exactly this
    hardware. A build from between two releases has what the next one has, perhaps: that is a warning.
    """
    hardware = report.stack.hardware
    kind = hardware.accelerator_type
    recipe = card.recipe_for(hardware.machine_type, kind, hardware.accelerator_count)
    if image is None or image.vllm_version is None or (recipe is not None and recipe.image_uri == image.uri):
        return
    accelerator = next((a for a in catalog().accelerators() if a.accelerator_type == kind), None)
    if (
        accelerator is None
        or image.arch != accelerator.cpu_arch
        or card.architecture.name in image.architectures
    ):
        return
    missing = lacks(card, accelerator, image.vllm_version)
    if missing is None:
        return
    newer = None if image.released else catalog().next_version(image.vllm_version)
    if newer is not None and lacks(card, accelerator, newer) is None:
        report.warn(f"{_KEY}: {missing} The image is a build from before {newer}, and may have it.")
        return
    found = (
        fitting_images(card, accelerator, hardware.accelerator_count, moving=moving)
        for moving in (False, True)
    )
    fitting = tuple(other.uri for images in found for other in images)
    first = since(card, accelerator)
    if fitting:
        remedy = f"image_uri: {fitting[0]}"
    elif first is not None:
        remedy = f"image_uri: an image of your own with vLLM {first} or later; none of Google's is known to have it"
    else:
        remedy = "another model"
    report.refuse(UnknownImage, _KEY, image.uri, missing, choices=fitting[:3], remedy=remedy)


def _on_machine(report: Report, image: ContainerImage) -> None:
    kind = report.stack.hardware.accelerator_type
    accelerator = next((a for a in catalog().accelerators() if a.accelerator_type == kind), None)
    wanted = accelerator.cpu_arch if accelerator else "x86"
    if image.arch == wanted:
        return
    has = {"tpu": "is for TPUs", "arm": "is for ARM machines", "x86": "is for x86 machines"}[image.arch]
    fitting = tuple(
        i.uri
        for i in reversed(catalog().containers())
        if i.arch == wanted and i.version_basis == "documented" and i.flavour == "standard"
    )[:3]
    text = f"the image {has}; {kind} comes in {wanted} machines."
    remedy = f"image_uri: {fitting[0]}"
    report.refuse(UnknownImage, _KEY, image.uri, text, choices=fitting, remedy=remedy)
