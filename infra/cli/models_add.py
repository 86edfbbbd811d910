"""``vertex-vllm models add``: writes the card of a model from its Hugging Face repository, or from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import BAD_INPUT, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.cards import ModelCard
    from infra.cards.writing import Draft

__all__ = ["UNREACHABLE", "add"]

UNREACHABLE: Final = Exit.NO_VERDICT
# Of the catalogue's 453 cards one has fewer than this share of what its shapes make: experts of a latent width.
_FEW: Final = 2 / 3

_MODELS: Final = Path(__file__).resolve().parent.parent / "catalog" / "models"


def add(
    model_id: Annotated[str, typer.Argument(metavar="ID", help="Hugging Face id, organisation/repository.")],
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit; the newest when left out.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Read files instead of the hub: config.json, tokenizer_config.json, *.safetensors or their index.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--stdout", help="Write the card into the catalogue, or print it.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a card that exists.")] = False,
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The family, where the name does not say it, such as llama-3.1."),
    ] = None,
    gated: Annotated[
        bool | None,
        typer.Option(
            "--gated/--not-gated", help="With --from: whether a token is needed to download the model."
        ),
    ] = None,
) -> None:
    """Add a model to the catalogue, from its config.json and the headers of its safetensors files.

    \b
    A token is taken from HF_TOKEN, or from what `hf auth login` stored. Weights are not downloaded.

    \b
    Examples:
      vertex-vllm models add Qwen/Qwen3-4B
      vertex-vllm models add my-org/my-model --stdout
      vertex-vllm models add my-org/my-model --from ./my-model --not-gated

    \b
    Exit status:
      0  the card is written (or printed)
      2  wrong usage, the model cannot be read into a card, or there is one already
      3  the hub cannot be reached, or does not give the model
    """
    from infra.cards.checkpoint import CheckpointError
    from infra.cards.config import ConfigError
    from infra.cards.writing import draft, to_yaml
    from infra.cli.repository import RepositoryError, check_id, from_folder, from_hub

    try:
        check_id(model_id)
        if write and not force:
            _refuse_to_replace(model_id)
        if source is not None:
            repository = from_folder(model_id, source, revision, gated)
        elif gated is not None:
            raise RepositoryError(
                "--gated and --not-gated belong to --from: the hub itself says which it is."
            )
        else:
            repository = from_hub(model_id, revision, _say)
        if repository.id != model_id:
            _say(f"{model_id} is called {repository.id} now")
            if write and not force:
                _refuse_to_replace(repository.id)
        made = draft(repository, family)
    except RepositoryError as error:
        _say(str(error))
        raise typer.Exit(UNREACHABLE if error.remote else BAD_INPUT) from None
    except (ConfigError, CheckpointError) as error:
        _say(f"{model_id}: {error}")
        raise typer.Exit(BAD_INPUT) from None
    text = to_yaml(made.card)
    if write:
        path = _MODELS / f"{made.card.id}.yaml"
        try:
            _write(path, text)
        except OSError as error:
            _say(f"{path}: cannot be written: {error.strerror}.")
            raise typer.Exit(BAD_INPUT) from None
        _say(f"wrote {_shown(path)}")
    else:
        typer.echo(text, nl=False)
    _report(made, wrote=write)


def _refuse_to_replace(model_id: str) -> None:
    from infra.cli.repository import RepositoryError

    path = _MODELS / f"{model_id}.yaml"
    if path.exists():
        raise RepositoryError(
            f"{_shown(path)}: the catalogue has this model. Replace its card with --force, or look at the new one with "
            "--stdout."
        )


def _write(path: Path, text: str) -> None:
    """Write a card whole or not at all."""
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        if made:
            path.parent.rmdir()
        raise


def _report(made: Draft, *, wrote: bool) -> None:
    arch, weights = made.card.architecture, made.card.weights
    size = f"{weights.bytes / 2**30:.2f} GiB" if weights.bytes else "size unknown"
    count = f"{weights.parameters:,} parameters, " if weights.parameters else ""
    _say(f"  {arch.name}: {count}{size}, {weights.quantization or weights.dtype or 'type unknown'}")
    _say(
        f"  {arch.max_position_embeddings} positions; {'gated' if made.card.gated else 'not gated'}; "
        f"chat template: {'yes' if made.card.chat_template else 'no'}"
    )
    for note in (*made.notes, *_too_few(made.card), *_not_in_vllm(made.card)):
        _say(f"  note: {note}")
    for missing in made.unknown:
        _say(f"  not known: {missing}")
    if wrote:
        _say(
            "Read it, then: .venv/bin/python -m infra.recipes.schema (editors offer the new id), make test-fast"
        )


def _too_few(card: ModelCard) -> Iterator[str]:
    """Say so where the files hold far fewer parameters than the shapes make, as when one of several is missing."""
    from infra.fit.weights import counted_parameters

    shapes, found = counted_parameters(card.architecture), card.weights.parameters
    if found is not None and card.weights.quantization is None and found < _FEW * shapes:
        yield (
            f"the safetensors files hold {found:,} parameters, the shapes of config.json make {shapes:,.0f}: is a file"
            " missing?"
        )


def _not_in_vllm(card: ModelCard) -> Iterator[str]:
    """Say so where no version of vLLM that the catalogue knows has the architecture."""
    from infra.recipes import catalog
    from infra.recipes.errors import nearest

    name = card.architecture.name
    if not catalog().architecture_runs(name):
        near = nearest(name, catalog().architectures())[0]
        yield (
            f"no version of vLLM that the catalogue knows has {name} (the nearest is {near}), so no stack file with"
            " this model will plan. Is `architectures` of config.json right?"
        )


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
