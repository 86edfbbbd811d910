"""``vertex-vllm models``: lists and filters the catalogue; ``models show ID`` says everything of one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import console, fail, one_gpu, print_json, table_console
from infra.cli.completion import model_ids

if TYPE_CHECKING:
    from rich.table import Table

    from infra.cards import ModelCard
    from infra.fit import Fit

__all__ = [
    "WeightsGib",
    "details",
    "list_models",
    "models_callback",
    "row_of",
    "show",
    "table",
    "weights_gib",
]

GIB: Final = 2**30
# Published 4-bit checkpoints (AWQ, GPTQ): groups of 128 weights share a 16-bit scale and a 4-bit zero point.
_INT4_BYTES: Final = (4 + (16 + 4) / 128) / 8
# Columns of the list with this rank or a lower one are shown in any terminal.
_ALWAYS: Final = 2
_GAP: Final = 2  # between columns
_ID: Final = 44  # a longer id is folded before a column is left out; nine of ten are shorter


class Modality(StrEnum):
    """What a model reads."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True)
class WeightsGib:
    """The weights of a model in GiB: as published, and what the same parameters take in other precisions.

    The others are computed. ``fp8`` and ``int4`` are of the linear layers of the language model (int4 with a scale and
    a zero point for 128 weights); embeddings, output matrix and image encoder stay at 16 bits, as vLLM and published
    checkpoints keep them. None where the numbers are not known.
    """

    checkpoint: float | None
    bits16: float | None
    fp8: float | None
    int4: float | None


@dataclass(frozen=True)
class Filters:
    """What the list is cut down to; see the options."""

    family: str | None = None
    modality: Modality | None = None
    gated: bool | None = None
    max_weights: float | None = None
    search: str | None = None

    def takes(self, card: ModelCard) -> bool:
        """Whether a model stays in the list."""
        size = weights_gib(card).checkpoint
        text = " ".join(
            (card.id, card.family, card.architecture.name, card.weights.quantization or "")
        ).casefold()
        return (
            (self.family is None or card.family.casefold().startswith(self.family.casefold()))
            and (self.modality is None or self.modality.value in card.modalities)
            and (self.gated is None or card.gated == self.gated)
            and (self.max_weights is None or (size is not None and size <= self.max_weights))
            and all(word in text for word in (self.search or "").casefold().split())
        )


_Family = Annotated[str | None, typer.Option(metavar="NAME", help="Families that begin so: llama, qwen-2.5.")]
_Modality = Annotated[Modality | None, typer.Option(help="Models that read this.")]
_Gated = Annotated[
    bool | None,
    typer.Option("--gated/--open", help="Models that need a token to download, or that need none."),
]
_MaxWeights = Annotated[float | None, typer.Option(metavar="GIB", help="Checkpoints of at most so many GiB.")]
_Fits = Annotated[
    str | None,
    typer.Option(
        metavar="MACHINE", help="Models that start on this machine type, with the defaults of a stack file."
    ),
]
_Accelerator = Annotated[
    str | None, typer.Option(metavar="GPU", help="The same by GPU: L4, A100, NVIDIA_H100_80GB; with --count.")
]
_Count = Annotated[int | None, typer.Option(min=1, help="GPUs of the machine; 1 with --accelerator alone.")]
_Search = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Words in id, family, architecture or quantization.")
]
_Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def models_callback(
    ctx: typer.Context,
    family: _Family = None,
    modality: _Modality = None,
    gated: _Gated = None,
    max_weights: _MaxWeights = None,
    fits: _Fits = None,
    accelerator: _Accelerator = None,
    count: _Count = None,
    search: _Search = None,
    as_json: _Json = False,
) -> None:
    """The catalogue of models. Without a command: the list, with the options of `models list`.

    \b
    Examples:
      vertex-vllm models --family llama-3.2 --modality image
      vertex-vllm models --open --accelerator L4
      vertex-vllm models list --fits a2-highgpu-1g --search instruct --json
      vertex-vllm models show meta-llama/Llama-3.1-8B-Instruct

    \b
    Exit status:
      0  the list is written, also when nothing is in it
      2  wrong usage, or no such hardware
    """
    given = (family, modality, gated, max_weights, fits, accelerator, count, search, as_json or None)
    if ctx.invoked_subcommand is not None:
        if any(value is not None for value in given):
            raise typer.BadParameter(
                f"options come after the command: vertex-vllm models {ctx.invoked_subcommand} --...",
                param_hint="models",
            )
        return
    list_models(family, modality, gated, max_weights, fits, accelerator, count, search, as_json)


def list_models(
    family: _Family = None,
    modality: _Modality = None,
    gated: _Gated = None,
    max_weights: _MaxWeights = None,
    fits: _Fits = None,
    accelerator: _Accelerator = None,
    count: _Count = None,
    search: _Search = None,
    as_json: _Json = False,
) -> None:
    """List the models of the catalogue.

    Weights are GiB: the checkpoint's, and what the same parameters take at 16 bits, fp8 and int4 (computed).

    \b
    Examples:
      vertex-vllm models list --family llama-3.2 --modality image
      vertex-vllm models list --open --accelerator L4 --count 1
      vertex-vllm models list --fits a2-highgpu-1g --search instruct --json

    \b
    Exit status:
      0  the list is written, also when nothing is in it
      2  wrong usage, or no such hardware
    """
    from infra.recipes import StackError, catalog

    books = catalog()
    filters = Filters(family, modality, gated, max_weights, search)
    try:
        cards = [books.model(model_id) for model_id in books.models()]
        if family is not None and not any(Filters(family=family).takes(card) for card in cards):
            _no_family(family, cards)
        hardware = _hardware(fits, accelerator, count)
    except StackError as error:
        fail(error)
    found: list[tuple[ModelCard, Fit | None]] = []
    for card in cards:
        if not filters.takes(card):
            continue
        if hardware is None:
            found.append((card, None))
        elif (fit := _fit_on(card, hardware)) is not None and fit.ok:
            found.append((card, fit))
    if as_json:
        print_json([row_of(card, fit) for card, fit in found])
        return
    if not found:
        typer.echo("no model of the catalogue matches all of this.", err=True)
        return
    out = table_console()
    out.print(table(found, width=out.width, fits=hardware is not None))
    if hardware is not None:
        typer.echo(
            f"{len(found)} models start on {hardware['accelerator_count']} x {hardware['accelerator_type']}"
            f" ({hardware['machine_type']}) with the defaults of a stack file (and chat_template: none or"
            " trust_remote_code: true where it must say so); an image whose vLLM version is not known is not among"
            " them.",
            err=True,
        )


def show(
    model_id: Annotated[
        str, typer.Argument(metavar="ID", help="Hugging Face id, org/name.", autocompletion=model_ids)
    ],
    as_json: _Json = False,
) -> None:
    """Show everything that the catalogue knows of one model, with its sources.

    \b
    Examples:
      vertex-vllm models show meta-llama/Llama-3.1-8B-Instruct
      vertex-vllm models show meta-llama/Llama-3.1-8B-Instruct --json | jq .weights_gib

    \b
    Exit status:
      0  it is shown
      2  wrong usage, or no such model
    """
    from rich.markup import escape
    from rich.table import Table

    from infra.recipes import StackError, catalog

    try:
        card = catalog().model(model_id)
    except StackError as error:
        fail(error)
    if as_json:
        print_json(card.model_dump(mode="json", exclude_none=True) | {"weights_gib": _sizes(card)})
        return
    out = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in details(card):
        if value is None:
            table.add_row("", "")
            table.add_row(f"[bold cyan]{escape(name)}[/]", "")
        else:
            table.add_row(escape(name), escape(value))
    out.print(table)


def weights_gib(card: ModelCard) -> WeightsGib:
    """The size of a model's weights by precision."""
    weights, arch = card.weights, card.architecture
    checkpoint = None if weights.bytes is None else weights.bytes / GIB
    if weights.parameters is None:
        return WeightsGib(checkpoint, None, None, None)
    tables = arch.vocab_size * arch.hidden_size * (1 if arch.tie_word_embeddings else 2)
    encoder = (card.vision.parameters or 0) if card.vision else 0
    kept = min(tables + encoder, weights.parameters)
    linear = weights.parameters - kept

    def size(each: float) -> float:
        return (2 * kept + each * linear) / GIB

    return WeightsGib(checkpoint, size(2), size(1), size(_INT4_BYTES))


def row_of(card: ModelCard, fit: Fit | None = None) -> dict[str, Any]:
    """One model of the list for JSON; with ``fit`` what its cache holds on the hardware that was asked for."""
    row: dict[str, Any] = {
        "id": card.id,
        "family": card.family,
        "parameters": card.weights.parameters,
        "quantization": card.weights.quantization,
        "weights_gib": _sizes(card),
        "max_position_embeddings": card.architecture.max_position_embeddings,
        "gated": card.gated,
        "chat_template": card.chat_template,
        "modalities": list(card.modalities),
        "recommended": [
            {
                "machine_type": recipe.machine_type,
                "accelerator_type": recipe.accelerator_type,
                "accelerator_count": recipe.accelerator_count,
            }
            for recipe in card.recommended
        ],
    }
    if fit is not None:
        from infra.cli.facts import verdict_of

        row |= {
            "kv_tokens": fit.kv_tokens,
            "max_model_len": fit.max_model_len,
            "max_concurrency": round(fit.max_concurrency, 2),
            "verdict": verdict_of(fit).value,
        }
    return row


def details(card: ModelCard) -> Iterator[tuple[str, str | None]]:
    """Everything of a card: name and value; a heading has the value None."""
    sizes = weights_gib(card)
    yield card.id, None
    yield "family", card.family
    yield "reads", ", ".join(card.modalities)
    yield "gated", "yes: a Hugging Face token is needed" if card.gated else "no"
    yield (
        "chat template",
        "yes" if card.chat_template else "no: choose vllm.chat_template, or use completions",
    )
    for name, value in (
        ("tool call parser", card.tool_call_parser),
        ("reasoning parser", card.reasoning_parser),
        ("remote code", "needed: vllm.trust_remote_code: true" if card.needs_remote_code else None),
    ):
        if value:
            yield name, value
    yield "Weights", None
    for name, gib in (
        ("checkpoint", sizes.checkpoint),
        ("16 bits", sizes.bits16),
        ("fp8", sizes.fp8),
        ("int4", sizes.int4),
    ):
        computed = "" if name == "checkpoint" else " (computed)"
        yield name, "unknown" if gib is None else f"{gib:.2f} GiB{computed}"
    yield from _flat(card.weights.model_dump(exclude_none=True))
    yield "Architecture", None
    yield from _flat(
        card.architecture.model_dump(exclude_none=True)
        | {"layer_kinds": dict(card.architecture.kinds.items())}
    )
    if card.vision is not None:
        yield "Image encoder", None
        yield from _flat(card.vision.model_dump(exclude_none=True))
    for recipe in card.recommended:
        yield (
            f"Recipe for {recipe.accelerator_count} x {recipe.accelerator_type} ({recipe.machine_type})",
            None,
        )
        yield from _flat(recipe.model_dump(exclude_none=True))
    yield "Sources", None
    yield from card.sources.items()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield prefix + name, "true" if value else "false"
        elif isinstance(value, int):
            yield prefix + name, f"{value:,}"
        elif isinstance(value, list | tuple):
            yield prefix + name, " ".join(map(str, value))
        else:
            yield prefix + name, str(value)


def _sizes(card: ModelCard) -> dict[str, float | None]:
    sizes = weights_gib(card)
    named = {"checkpoint": sizes.checkpoint, "16bit": sizes.bits16, "fp8": sizes.fp8, "int4": sizes.int4}
    return {name: None if gib is None else round(gib, 2) for name, gib in named.items()}


def table(found: Sequence[tuple[ModelCard, Fit | None]], *, width: int, fits: bool) -> Table:
    """The list as a table of at most ``width`` columns; ``fits``: with what the KV cache holds."""
    from rich.markup import escape
    from rich.table import Table

    def gib(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    def yes(value: bool) -> str:
        return "yes" if value else "no"

    # name, whether it is a number, rank (the least go last where the terminal is narrow), its text
    columns: list[tuple[str, bool, int, Callable[[ModelCard, Fit | None], str]]] = [
        ("id", False, 0, lambda card, _: card.id),
        ("family", False, 9, lambda card, _: card.family),
        ("params", True, 1, lambda card, _: _billions(card.weights.parameters)),
        ("GiB", True, 2, lambda card, _: gib(weights_gib(card).checkpoint)),
        ("16-bit", True, 10, lambda card, _: gib(weights_gib(card).bits16)),
        ("fp8", True, 7, lambda card, _: gib(weights_gib(card).fp8)),
        ("int4", True, 7, lambda card, _: gib(weights_gib(card).int4)),
        ("context", True, 3, lambda card, _: f"{card.architecture.max_position_embeddings:,}"),
        ("gated", False, 4, lambda card, _: yes(card.gated)),
        ("chat", False, 5, lambda card, _: yes(card.chat_template)),
        ("reads", False, 8, lambda card, _: " ".join(card.modalities)),
    ]
    if fits:
        columns += [
            ("KV tokens", True, 2, lambda _, fit: f"{fit.kv_tokens:,}" if fit else ""),
            ("requests", True, 6, lambda _, fit: f"{fit.max_concurrency:,.1f}" if fit else ""),
        ]
    else:
        columns.append(("recommended", False, 6, lambda card, _: _recommended(card)))
    texts = {name: [text(card, fit) for card, fit in found] for name, _, _, text in columns}
    room, shown = width, set[str]()
    for name, _, rank, _ in sorted(columns, key=lambda column: column[2]):
        longest = max(map(len, (name, *texts[name])))
        room -= (min(longest, _ID) if name == "id" else longest) + _GAP
        if room < -_GAP and rank > _ALWAYS:  # the last column has no gap behind it
            break
        shown.add(name)
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bright_black")
    for name, number, _, _ in columns:
        if name in shown:
            made.add_column(
                name, justify="right" if number else "left", no_wrap=name != "id", overflow="fold"
            )
    for row in zip(*(texts[name] for name, *_ in columns if name in shown), strict=True):
        made.add_row(*map(escape, row))
    return made


def _billions(parameters: int | None) -> str:
    return (
        "-"
        if parameters is None
        else f"{parameters / 1e9:.3g}B"
        if parameters < 1e11
        else f"{parameters / 1e9:.0f}B"
    )


def _recommended(card: ModelCard) -> str:
    if not card.recommended:
        return "-"
    first = card.recommended[0]
    more = f" +{len(card.recommended) - 1}" if len(card.recommended) > 1 else ""
    return f"{first.accelerator_count} x {one_gpu(first.accelerator_type)}{more}"


def _no_family(family: str, cards: list[ModelCard]) -> None:
    from infra.recipes.errors import UnknownModel, nearest

    choices = nearest(family, sorted({card.family for card in cards}))
    remedy = f"--family {choices[0]}"
    raise UnknownModel(
        "the catalogue has no such family.", key="--family", value=family, choices=choices, remedy=remedy
    )


def _hardware(machine_type: str | None, accelerator: str | None, count: int | None) -> dict[str, Any] | None:
    """The hardware section that the options mean; None where they name none.

    Raises:
        UnknownMachine: no such machine.
        HardwareMismatch: no such GPU, or not so many of them in a machine.
    """
    from infra.recipes import HardwareMismatch, catalog, nearest

    if machine_type is None and accelerator is None:
        if count is not None:
            raise typer.BadParameter("goes with --accelerator.", param_hint="--count")
        return None
    books = catalog()
    machines = books.machines() if machine_type is None else (books.machine(machine_type),)
    pairs = [
        (machine.machine_type, kind, number) for machine in machines for kind, number in machine.accelerators
    ]
    kinds = tuple(dict.fromkeys(kind for _, kind, _ in pairs))
    if accelerator is not None:
        kind = _accelerator_type(accelerator, kinds)
        if kind is None:
            choices = nearest(accelerator, kinds)
            remedy = f"--accelerator {choices[0]}"
            where = f"{machine_type} has no such GPU." if machine_type else "Vertex AI serves on no such GPU."
            raise HardwareMismatch(
                where, key="--accelerator", value=accelerator, choices=choices, remedy=remedy
            )
        pairs = [pair for pair in pairs if pair[1] == kind]
    elif len(kinds) > 1:
        remedy = f"--fits {machine_type} --accelerator {kinds[0]}"
        raise HardwareMismatch(
            f"{machine_type} has several kinds of GPU.", key="--accelerator", choices=kinds, remedy=remedy
        )
    wanted = count or (1 if machine_type is None else None)
    numbers = tuple(dict.fromkeys(str(number) for _, _, number in pairs))
    fitting = [pair for pair in pairs if wanted is None or pair[2] == wanted]
    if not fitting or (wanted is None and len(numbers) > 1):
        problem = (
            f"{pairs[0][1]} comes in other numbers."
            if wanted
            else f"{machine_type} has several numbers of GPUs."
        )
        remedy = f"--count {numbers[0]}"
        raise HardwareMismatch(problem, key="--count", choices=numbers, remedy=remedy)
    # The roomiest host: the question is the GPU's memory, and a plan also checks the machine's.
    machine, kind, number = max(fitting, key=lambda pair: books.machine(pair[0]).memory_gib)
    return {"machine_type": machine, "accelerator_type": kind, "accelerator_count": number}


def _accelerator_type(text: str, kinds: tuple[str, ...]) -> str | None:
    """Vertex AI's name of a GPU; people leave ``NVIDIA_TESLA_`` out."""

    def plain(name: str) -> str:
        return "".join(char for char in name.casefold() if char.isalnum())

    for names in (lambda kind: (kind, one_gpu(kind)), lambda kind: (one_gpu(kind).split(" ")[0],)):
        for kind in kinds:
            if plain(text) in map(plain, names(kind)):
                return kind
    return None


def _needed(card: ModelCard) -> dict[str, Any]:
    """What a stack file with this model has to say: memory hangs on none of it."""
    needed: dict[str, Any] = {}
    if not card.chat_template:
        needed["chat_template"] = "none"
    if card.needs_remote_code:
        needed["trust_remote_code"] = True
    return needed


def _fit_on(card: ModelCard, hardware: dict[str, Any]) -> Fit | None:
    """The prediction for a stack file with this model and hardware and what it must say; None where it is refused."""
    from infra.recipes import StackError, catalog
    from infra.recipes.checks import Report, check
    from infra.recipes.memory import fit_of
    from infra.recipes.stackfile import parse_stack

    books, kind = catalog(), hardware["accelerator_type"]
    regions = books.regions_with(kind)
    if not regions:
        return None
    try:
        stack = parse_stack(
            {"model": card.id, "hardware": dict(hardware), "vllm": _needed(card)}, file="", lines={}
        )
    except StackError:
        return None
    # Not a plan: of each model that does not start it would look for the hardware that would do.
    report = Report(stack, region=regions[0], file="")
    checked = check(report, folder=Path())
    if checked is None or report.problems:
        return None
    return fit_of(card, books.accelerator(kind), checked.vllm_version, stack.vllm, checked.split)
