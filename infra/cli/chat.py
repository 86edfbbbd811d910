"""``vertex-vllm chat``: a talk with the deployed model in the terminal, or one question from a pipe."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import as_utf8, console, fail, given_text, piped_text, print_json
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from rich.console import Console

    from infra.client import Endpoint
    from infra.client.chat import Pieces, Reply, Talk

__all__ = ["chat"]

_ASKING: Final = "Question"
_PROMPT: Final = "you> "
_COMMANDS: Final = """\
  /image PATH_OR_URL   an image for the next question
  /system TEXT         another system prompt; without a text, none
  /new                 forget what was said
  /quit                end (also Ctrl-D)
  A line that ends in \\ goes on in the next; // at the beginning is a slash. Ctrl-C ends an answer."""


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="One question; without it and on a terminal, a talk. `-` is stdin."
        ),
    ] = None,
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="System prompt.", rich_help_panel=_ASKING)] = "",
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH_OR_URL",
            help="An image for the (first) question; may be repeated.",
            rich_help_panel=_ASKING,
        ),
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON list of tools as OpenAI's API has them; calls are shown.",
            rich_help_panel=_ASKING,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A loaded LoRA adapter instead of the model.", rich_help_panel=_ASKING
        ),
    ] = "",
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Most tokens of an answer.", rich_help_panel=_ASKING),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", min=0.0, help="0 always takes the likeliest.", rich_help_panel=_ASKING),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, max=1.0, help="Nucleus sampling.", rich_help_panel=_ASKING),
    ] = None,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="The whole answer at once.", rich_help_panel=_ASKING)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="The answer to one question as JSON: message, finish reason, tokens, times."
        ),
    ] = False,
) -> None:
    """Talk to the deployed model: streaming, several turns, images, tool calls.

    A question on the command line or from a pipe is answered once; with both, the piped text follows the question.
    The access token comes from Google's default credentials (or GOOGLE_OAUTH_ACCESS_TOKEN), and a new one is fetched
    before it expires. On the local cloud none is needed.

    \b
    Examples:
      vertex-vllm chat --stack local
      vertex-vllm chat --stack prod --system "Be brief." "What is Pulumi?"
      git diff | vertex-vllm chat --stack dev "A commit message for this:"
      vertex-vllm chat --stack dev --image cat.png "What is this?"
      vertex-vllm chat --stack dev --json "Hi" | jq .usage
      vertex-vllm chat --endpoint 123456789 --project P --region us-central1

    \b
    Exit status:
      0  answered
      2  wrong usage: no such endpoint, file or image
      8  no answer: an error, with what to do about it, or no credentials
    """
    options = _options(max_tokens=max_tokens, temperature=temperature, top_p=top_p, tools=_tools(tools))
    question = _question(prompt, piped=outputs != "-")
    system, model = given_text(system, "--system"), given_text(model, "--model")
    if question is None and as_json:
        fail("--json answers one question: give it as an argument, or pipe it in.")
    found = target(stack, outputs, endpoint, project, region, asked=True)
    images = _images(image or (), found)
    from infra.client.chat import Talk

    talk = Talk(found, found.token(), system=system, model=model, options=options, stream=not no_stream)
    if question is None:
        _converse(talk, images)
    else:
        _once(talk, question, images, as_json=as_json)


def _options(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _tools(path: Path | None) -> list[dict[str, Any]] | None:
    """The tools of a file; a bare function (``name``, ``parameters``) is taken for a tool."""
    if path is None:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        fail(f"--tools {path} cannot be read: {getattr(error, 'strerror', None) or error}.")
    except ValueError as error:
        fail(f"--tools {path} is no JSON: {error}.")
    found = value if isinstance(value, list) else [value]
    tools = [
        {"type": "function", "function": tool} if isinstance(tool, dict) and "name" in tool else tool
        for tool in found
    ]
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            fail(
                f"--tools {path}: each tool is "
                '{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}.'
            )
    if not tools:
        fail(f"--tools {path}: the list is empty.")
    return tools


def _question(prompt: str | None, *, piped: bool) -> str | None:
    """The one question, None where there is to be a talk.

    Args:
        prompt: The argument; `-` is what is piped in, as for `predict`.
        piped: Whether stdin belongs to the question.
    """
    parts = [] if prompt in (None, "-") else [given_text(str(prompt), "The question")]
    if prompt == "-" or (piped and not sys.stdin.isatty()):
        parts.append(piped_text("What was piped in (an image is given by --image)"))
    if not parts:
        return None
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    if not text:
        fail("The question is empty: give it as an argument, or pipe it in.")
    return text


def _images(given: Sequence[str], endpoint: Endpoint) -> list[dict[str, Any]]:
    from infra.client import BadTarget
    from infra.client.images import image_part

    try:
        return [image_part(image, dedicated=endpoint.dedicated) for image in given]
    except BadTarget as error:
        give_up(error)


# One question ------------------------------------------------------------------------------------------------------


def _once(talk: Talk, question: str, images: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    from infra.client import ClientError

    out = console()
    try:
        with contextlib.closing(talk.ask(question, images)) as pieces:
            reply = _last(pieces) if as_json else _show(out, pieces)
    except ClientError as error:
        give_up(error)
    if as_json:
        print_json({"endpoint": talk.endpoint.name, **reply.as_dict()})
    elif reply.finish_reason == "length":
        typer.echo("(cut at its most tokens; --max-tokens raises it)", err=True)


def _last(pieces: Pieces) -> Reply:
    *_, (_, _, reply) = pieces
    return reply


def _show(out: Console, pieces: Pieces) -> Reply:
    """Write an answer as it comes. What the model thought is for a terminal only."""
    from rich.text import Text

    before = ""
    try:
        for kind, piece, reply in pieces:  # noqa: B007  (the last one is the whole answer)
            if kind == "reasoning" and not out.is_terminal:
                continue
            if kind == "reasoning":
                out.print(Text(_plain(piece), style="dim"), end="", soft_wrap=True)
            elif kind == "text":
                if before == "reasoning":
                    out.file.write("\n\n")
                out.file.write(_plain(piece) if out.is_terminal else piece)
            if kind != "end":
                before = kind
            out.file.flush()
    finally:
        if before in ("text", "reasoning"):
            out.file.write("\n")
            out.file.flush()
    for call in reply.calls:
        out.print(Text(f"→ {_plain(call.name)}({_plain(call.arguments)})", style="cyan"), soft_wrap=True)
    return reply


def _plain(text: str) -> str:
    """Text without what a terminal would take for a command: a model may write escape sequences."""
    return "".join(c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") else "�" for c in text)


# A talk ------------------------------------------------------------------------------------------------------------


def _converse(talk: Talk, images: list[dict[str, Any]]) -> None:
    from infra.client import ClientError
    from infra.client.advice import words_of

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (input() then has a history and can be edited)
    out, errors = console(), console(sys.stderr)
    out.print(f"[dim]{words_of(talk.endpoint)}. /help shows the commands, Ctrl-D ends.[/dim]", soft_wrap=True)
    while True:
        try:
            line = _line(_PROMPT)
        except KeyboardInterrupt:
            out.print("\n[dim]Ctrl-D or /quit ends.[/dim]")
            continue
        if line is None or line in ("/quit", "/exit"):
            return
        if line.startswith("/") and not line.startswith("//"):
            _command(out, errors, talk, images, line)
            continue
        text = line.removeprefix("/")
        if not text.strip():
            continue
        asked, images[:] = list(images), []
        try:
            _turn(out, talk, talk.ask(text, asked))
        except ClientError as error:
            errors.print(str(error), style="red", markup=False, soft_wrap=True)
            images[:] = asked  # the question can be asked again as it was


def _turn(out: Console, talk: Talk, pieces: Pieces) -> None:
    """One answer, and those that follow from the results of its tool calls."""
    while True:
        try:
            with contextlib.closing(pieces):
                reply = _show(out, pieces)
        except KeyboardInterrupt:
            out.print("[dim](stopped)[/dim]")
            return
        _footer(out, reply)
        if not reply.calls:
            return
        results = []
        try:
            for call in reply.calls:
                result = _line(f"result of {call.name}> ")
                if result is None:
                    raise KeyboardInterrupt
                results.append((call, result))
        except KeyboardInterrupt:
            talk.drop_calls()
            out.print("\n[dim](without a result; the question is taken back)[/dim]")
            return
        pieces = talk.answer_calls(results)


def _footer(out: Console, reply: Reply) -> None:
    """Counts and times of an answer, in one dim line."""
    parts = []
    made = (reply.usage or {}).get("completion_tokens")
    if made:
        parts.append(f"{made} tokens")
    if reply.first_token_s is not None:
        parts.append(f"{reply.first_token_s:.1f} s to the first")
        after = reply.seconds - reply.first_token_s
        if made and made > 1 and after > 0.1:
            parts.append(f"{(made - 1) / after:.1f} a second after it")
    if reply.finish_reason == "length":
        parts.append("cut at the most tokens")
    if parts:
        out.print(f"[dim]({', '.join(parts)})[/dim]", soft_wrap=True)


def _line(prompt: str) -> str | None:
    """A line of the user, with those it goes on in; None at the end of the input."""
    lines: list[str] = []
    while True:
        try:
            line = input(prompt if not lines else "...> ")
        except EOFError:
            print()
            return None
        try:
            lines.append(as_utf8(line.removesuffix("\\")))
        except UnicodeError:
            print("That line is not UTF-8 text; it is left out.")
            continue
        if not line.endswith("\\"):
            return "\n".join(lines).strip()


def _command(out: Console, errors: Console, talk: Talk, images: list[dict[str, Any]], line: str) -> None:
    from infra.client import BadTarget
    from infra.client.images import image_part

    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/image" and rest:
        try:
            images.append(image_part(rest, dedicated=talk.endpoint.dedicated))
        except BadTarget as error:
            errors.print(str(error), style="red", markup=False, soft_wrap=True)
            return
        out.print(f"[dim]{len(images)} image{'s' * (len(images) > 1)} for the next question[/dim]")
    elif name == "/system":
        talk.system = rest
        out.print(
            f"[dim]{'another system prompt from now on' if rest else 'no system prompt any more'}[/dim]"
        )
    elif name == "/new":
        talk.new()
        images.clear()
        out.print("[dim]what was said is forgotten[/dim]")
    else:
        if name not in ("/help", "/image"):
            errors.print(f"There is no {_plain(name)}.", style="red", markup=False, soft_wrap=True)
        out.print(_COMMANDS, style="dim", markup=False, soft_wrap=True)
