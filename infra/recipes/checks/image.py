"""The container image: where it may come from, that it is pinned, and that it runs on the machine."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from infra.cards import ModelCard
from infra.recipes.catalog import Accelerator, ContainerImage, catalog
from infra.recipes.checks.report import Report
from infra.recipes.errors import HardwareMismatch, UnknownImage, ValueProblem, nearest
from infra.recipes.images import fitting_images, has_all, lacks, runs_method, since
from infra.versions import version_key

__all__ = ["check_image", "check_model_in_image"]

_KEY: Final = "container.image_uri"
_VERSION: Final = "container.vllm_version"
# vllm/entrypoints/api_server.py, with which the container is started, is in the wheel of 0.24.0 and not in 0.25.0's. Up
# to 0.24.0 it has /generate and /health, and no /ping; vllm serve has /ping (from 0.7.0) and no /generate.
_NO_SERVER: Final = (0, 25)
_IMAGE: Final = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<path>[a-z0-9._/-]+?)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


def check_image(report: Report, card: ModelCard | None) -> ContainerImage | None:
    """Check the image, and the vLLM version that the stack file says it has.

    Args:
        report: the stack file; takes the problems and warnings.
        card: the model, when it is known: another image is only named if it can serve it.

    Returns:
        The image; with the stack file's version where the catalogue has none. None when the catalogue does not have it.
    """
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
        _own_image(report, uri)
        return None
    _on_machine(report, image, card)
    if image.flavour == "optimized":
        report.warn(f"{_KEY}: this is an optimized image, whose development has ended.")
    said = report.stack.container.vllm_version
    if image.vllm_version is None:
        if said is None:
            report.warn(
                f"{_KEY}: nobody has documented this image's vLLM version; no flag is checked. If you know it, write"
                " container.vllm_version."
            )
        return replace(image, vllm_version=said)
    if said is not None and version_key(said) != version_key(image.vllm_version):
        text = f"this image has vLLM {image.vllm_version} ({image.version_basis}), not {said}."
        report.refuse(
            ValueProblem, _VERSION, said, text, remedy="delete the line; it is for images of your own"
        )
    elif image.version_basis.startswith("reported"):
        report.warn(f"{_KEY}: its vLLM version, {image.vllm_version}, is {image.version_basis}.")
    return image


def _own_image(report: Report, uri: str) -> None:
    """Say what an image that the catalogue does not have must be, for the program starts it as it starts Google's."""
    said = report.stack.container.vllm_version
    unknown = (
        ""
        if said is not None
        else " Its vLLM version is not known and no flag is checked: write container.vllm_version."
    )
    report.warn(
        f"{_KEY}: {uri} is not in the catalogue. It must serve /generate and /ping on port 8080 when it is started with"
        f" python -m vllm.entrypoints.api_server, as Google's images do; vLLM's own has no /ping.{unknown}"
    )
    if said is not None and version_key(said) >= _NO_SERVER:
        report.warn(
            f"{_VERSION}: vLLM {said} has no vllm.entrypoints.api_server any more (0.24.0 was the last), so a plain"
            " image of it ends at its start, and vllm serve has no /generate. Build on one of Google's images, or add a"
            " module of that name to yours that serves both routes."
        )


def check_model_in_image(report: Report, card: ModelCard, image: ContainerImage | None) -> None:
    """Check that the image's vLLM has the model's architecture and quantization, and is built for the GPU.

    Not checked where the version is not known, and for the image of a recipe that was published for exactly this
    hardware. A build from between two releases has what the next one has, perhaps: that is a warning.
    """
    hardware = report.stack.hardware
    kind = hardware.accelerator_type
    if image is None:
        _check_model_in_own_image(report, card)
        return
    recipe = card.recipe_for(hardware.machine_type, kind, hardware.accelerator_count)
    if image.vllm_version is None or (recipe is not None and recipe.image_uri == image.uri):
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
    same = [one for one in catalog().containers() if has_all(card, accelerator, one)]
    if not fitting and same:
        # Not the image: none of those that have the model can run it on these GPUs.
        if runs_method(card, accelerator, image.vllm_version):  # else the check of the GPU speaks of it
            _not_on_gpus(report, card, accelerator, same)
        return
    if fitting:
        remedy = f"image_uri: {fitting[0]}"
    elif first is not None:
        remedy = f"image_uri: an image of your own with vLLM {first} or later; none of Google's is known to have it"
    else:
        remedy = "another model"
    report.refuse(UnknownImage, _KEY, image.uri, missing, choices=fitting[:3], remedy=remedy)


def _check_model_in_own_image(report: Report, card: ModelCard) -> None:
    """Hold the version that the stack file says of an image of one's own against the model and the GPU."""
    said, kind = report.stack.container.vllm_version, report.stack.hardware.accelerator_type
    accelerator = next((a for a in catalog().accelerators() if a.accelerator_type == kind), None)
    missing = lacks(card, accelerator, said) if said is not None else None
    if missing is not None:
        first = since(card, accelerator)
        newer = f"an image with vLLM {first} or later; or " if first is not None else ""
        remedy = f"{newer}delete the line, if your image adds what is missing: nothing is then checked by a version"
        report.refuse(ValueProblem, _VERSION, said, missing, remedy=remedy)


def _not_on_gpus(
    report: Report, card: ModelCard, accelerator: Accelerator, images: list[ContainerImage]
) -> None:
    """Refuse the GPUs: Google has images with the model, and none of them runs it on these."""
    has, count = accelerator.compute_capability, report.stack.hardware.accelerator_count
    kind, method = accelerator.accelerator_type, card.weights.quantization
    versions = [image.vllm_version for image in images if image.vllm_version is not None]
    if method is None or any(runs_method(card, accelerator, version) for version in versions):
        text = f"Google has images with {card.architecture.name}, but none can split {card.id} over {count} GPUs."
        remedy = "accelerator_count: another number that the machine type takes"
        report.refuse(HardwareMismatch, "hardware.accelerator_count", count, text, remedy=remedy)
        return
    least = min(
        (
            need
            for version in versions
            if (need := catalog().quantization_capability(method, version)) is not None
        ),
        default=has,
    )
    fitting = tuple(
        other.accelerator_type for other in catalog().accelerators() if other.compute_capability >= least
    )
    text = (
        f"{card.id} is quantized as {method}, which needs compute capability {least[0]}.{least[1]} in every image of"
        f" Google's that has {card.architecture.name}; {kind} has {has[0]}.{has[1]}."
    )
    best = min(fitting, key=lambda other: catalog().accelerator(other).compute_capability)
    key, remedy = "hardware.accelerator_type", f"accelerator_type: {best}"
    report.refuse(HardwareMismatch, key, kind, text, choices=fitting, remedy=remedy)


def _on_machine(report: Report, image: ContainerImage, card: ModelCard | None) -> None:
    kind = report.stack.hardware.accelerator_type
    accelerator = next((a for a in catalog().accelerators() if a.accelerator_type == kind), None)
    wanted = accelerator.cpu_arch if accelerator else "x86"
    if image.arch == wanted:
        return
    has = {"tpu": "is for TPUs", "arm": "is for ARM machines", "x86": "is for x86 machines"}[image.arch]
    known = [
        i
        for i in reversed(catalog().containers())
        if i.arch == wanted and i.version_basis == "documented" and i.flavour == "standard"
    ]
    able = [i for i in known if card is None or accelerator is None or has_all(card, accelerator, i)]
    fitting = tuple(i.uri for i in able)[:3]
    text = f"the image {has}; {kind} comes in {wanted} machines."
    remedy = f"image_uri: {fitting[0]}" if fitting else ""
    if not fitting and card is not None:
        name, first = card.architecture.name, since(card, accelerator)
        text += f" None of Google's known images for those can serve {card.id} ({name})."
        remedy = (
            f"image_uri: an image of your own for {wanted} with vLLM {first} or later"
            if first
            else "another model"
        )
        x86 = [a.accelerator_type for a in catalog().accelerators() if a.cpu_arch != wanted]
        remedy += (
            f"; or an accelerator in x86 machines, such as {nearest(kind, x86)[0]}" if wanted == "arm" else ""
        )
    report.refuse(UnknownImage, _KEY, image.uri, text, choices=fitting, remedy=remedy)
