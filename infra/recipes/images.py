"""Which container image serves which model: what a version of vLLM lacks for it, and the image where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra.cards import ModelCard
from infra.recipes.catalog import Accelerator, ContainerImage, catalog
from infra.recipes.parallel import Splitter
from infra.versions import version_key

__all__ = ["DEFAULT_IMAGE", "default_image", "fitting_images", "has_all", "lacks", "runs_method", "since"]

DEFAULT_IMAGE: Final = (
    "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
)
"""The image of Google's guide."""

# Blackwell: vLLM 0.9.0 is the first that requires torch 2.7.0 (0.8.5.post1: 2.6.0; METADATA of the wheels), and PyTorch
# 2.7 is the first release built for it (pytorch.org/blog/pytorch-2-7).
_NEWER_GPUS: Final = (((10, 0), "0.9.0"),)


def lacks(card: ModelCard, accelerator: Accelerator | None, version: str) -> str | None:
    """What a version of vLLM lacks to serve a model on a kind of GPU; None when nothing is known to be missing.

    Args:
        card: the model.
        accelerator: the GPU; None to leave it out of account.
        version: of vLLM.

    Returns:
        A sentence: the architecture (with the version that has it), the GPU's generation, or the quantization method.
    """
    books, name = catalog(), card.architecture.name
    runs = books.architecture_runs(name)
    if books.architecture(name, version) is None:
        if not runs:
            return f"no version of vLLM that the catalogue knows has {name}, the architecture of {card.id}."
        first, gone = runs[0].first, runs[-1].gone
        if version_key(version) < version_key(first):
            return f"vLLM {version} has no {name}, the architecture of {card.id}, yet; it came by {first}."
        if gone is not None and version_key(version) >= version_key(gone):
            return f"vLLM {version} has no {name}, the architecture of {card.id}, any more; it was gone by {gone}."
        return f"vLLM {version} has no {name}, the architecture of {card.id}; versions before and after have."
    method = card.weights.quantization
    spans = books.quantization_versions(method) if method else ()
    if spans and books.quantization_capability(method or "", version) is None:
        when = (
            f"it came by {spans[0][0]}" if version_key(version) < version_key(spans[0][0]) else "it is gone"
        )
        return f"vLLM {version} has no quantization {method}, that of {card.id}; {when}."
    if accelerator is None:
        return None
    has = accelerator.compute_capability
    for generation, least in _NEWER_GPUS:
        if has >= generation and version_key(version) < version_key(least):
            return (
                f"{accelerator.accelerator_type} has compute capability {has[0]}.{has[1]}; vLLM {version} is not built"
                f" for it, {least} and later are."
            )
    return None


def since(card: ModelCard, accelerator: Accelerator | None) -> str | None:
    """The first version of vLLM that has a model's architecture and its GPU's generation; None for none."""
    runs = catalog().architecture_runs(card.architecture.name)
    if not runs:
        return None
    newer = [
        least
        for generation, least in _NEWER_GPUS
        if accelerator and accelerator.compute_capability >= generation
    ]
    return max((runs[0].first, *newer), key=version_key)


def fitting_images(
    card: ModelCard, accelerator: Accelerator, gpus: int = 1, *, moving: bool = False
) -> Iterator[ContainerImage]:
    """Google's standard images with a known version that can serve a model on some GPUs, the oldest vLLM first.

    Args:
        card: the model.
        accelerator: the kind of GPU.
        gpus: GPUs of one machine, over which vLLM must be able to split the model.
        moving: only those whose tag moves, instead of only those whose tag does not.
    """
    known = (
        (image.vllm_version, image) for image in catalog().containers() if image.vllm_version is not None
    )
    for version, image in sorted(known, key=lambda pair: (version_key(pair[0]), pair[1].date)):
        if image.moves is not moving or not has_all(card, accelerator, image):
            continue
        if not runs_method(card, accelerator, version):
            continue
        splitter = Splitter(card, catalog().architecture(card.architecture.name, version))
        if next(splitter.allowed(gpus), None) is not None:
            yield image


def has_all(card: ModelCard, accelerator: Accelerator, image: ContainerImage) -> bool:
    """Whether an image is one of Google's standard ones for a kind of GPU, and its version lacks nothing for a model.

    That the GPU can run the model's quantization is :func:`runs_method`.
    """
    if image.vllm_version is None or image.arch != accelerator.cpu_arch or image.flavour != "standard":
        return False
    documented = card.architecture.name in image.architectures
    return documented or lacks(card, accelerator, image.vllm_version) is None


def default_image(card: ModelCard, accelerator: Accelerator, gpus: int) -> str:
    """The image where neither the stack file nor a recipe for its hardware names one.

    The oldest that fits, the guide's first; else that of one of the model's published recipes, on whatever hardware;
    else one whose tag moves; else the guide's, which the checks then refuse with the reason.
    """
    fitting = [image.uri for image in fitting_images(card, accelerator, gpus)]
    if DEFAULT_IMAGE in fitting:
        return DEFAULT_IMAGE
    named = (catalog().container(recipe.image_uri) for recipe in card.recommended if recipe.image_uri)
    published = [image.uri for image in named if image is not None and image.arch == accelerator.cpu_arch]
    moving = (image.uri for image in fitting_images(card, accelerator, gpus, moving=True))
    return next(iter([*fitting, *published, *moving]), DEFAULT_IMAGE)


def runs_method(card: ModelCard, accelerator: Accelerator, version: str) -> bool:
    """Whether a version of vLLM runs a model's quantization on a kind of GPU; True for a model without one."""
    method = card.weights.quantization
    needed = catalog().quantization_capability(method, version) if method else None
    return needed is None or accelerator.compute_capability >= needed
