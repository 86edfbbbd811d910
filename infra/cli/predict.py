"""``vertex-vllm predict``: the default route, for one prompt or for a file of instances."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from infra.cli.common import Exit, console, fail, given_text, piped_text, print_json
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from infra.client import Endpoint
    from infra.client.batch import Instance
    from infra.client.predict import Answer

__all__ = ["predict"]

_FIELDS = "Fields of the route"
_FILE = "A file of instances"


def predict(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The text to go on with; `-` or a pipe is stdin.")
    ] = None,
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Most new tokens; vLLM's 16 if unset.", rich_help_panel=_FIELDS
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0.0, help="0 is greedy.", rich_help_panel=_FIELDS)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P", min=0.0, max=1.0, help="Share of the likeliest tokens.", rich_help_panel=_FIELDS
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(metavar="K", min=-1, help="The K likeliest tokens; -1 is all.", rich_help_panel=_FIELDS),
    ] = None,
    raw_response: Annotated[
        bool | None,
        typer.Option(
            "--raw-response/--no-raw-response",
            help="Only the new text, not `Prompt:` and `Output:`; as the server does if unset.",
            rich_help_panel=_FIELDS,
        ),
    ] = None,
    lora_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="LoRA adapter: its name in the stack file, gs://bucket/path or a Hugging Face repository.",
            rich_help_panel=_FIELDS,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL",
            help="multi_modal_data; the prompt of Llama 3.2 then begins as in the example.",
            rich_help_panel=_FIELDS,
        ),
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='JSON Lines: {"prompt": …} with any field of the route, or "a prompt"; `-` is stdin. The fields above '
            "are defaults.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the answers go, JSON Lines; NAME.predictions.jsonl if unset.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=256, help="Most requests at once.", rich_help_panel=_FILE),
    ] = 8,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Keep the predictions that the file of answers has, and ask for the rest.",
            rich_help_panel=_FILE,
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The answer, or what was done, as JSON.")] = False,
) -> None:
    """Ask the endpoint's default route (:predict) to go on with a text; no chat template is needed.

    Of a file of instances at most --concurrency are asked at once. Every answer is written when it comes; the same
    command again asks only for what is missing or failed. A server that is busy (429, 503) is asked again.

    \b
    Examples:
      vertex-vllm predict --stack dev "A car is" --max-tokens 64 --raw-response
      echo "A car is" | vertex-vllm predict --stack dev --json
      vertex-vllm predict --stack dev --image a.png "<|begin_of_text|><|image|>A"
      vertex-vllm predict --stack dev --lora-id sql "Rows of the table a"
      vertex-vllm predict --stack dev --instances prompts.jsonl --concurrency 32
      vertex-vllm predict --endpoint 123 --project P --region us-central1 "Hello"

    \b
    Exit status:
      0  every instance has a prediction
      2  wrong usage, a file that cannot be read or written, or no such endpoint
      8  no answer, or an error in the place of one
    """
    if instances is not None and prompt is not None:
        fail("A PROMPT or --instances FILE, not both: what do you want to ask?")
    if instances is None and output is not None:
        fail("-o is for --instances FILE; the answer to one prompt goes to stdout.")
    if str(instances) == "-" and outputs == "-":
        fail("Both --instances - and --outputs - would read stdin: give one of them a file.")
    found = target(stack, outputs, endpoint, project, region, asked=True)
    fields: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "raw_response": raw_response,
        "lora_id": None if lora_id is None else _adapter(given_text(lora_id, "--lora-id"), found),
        "multi_modal_data": _multi_modal_data(image, found),
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    if instances is None:
        _one(found, {"prompt": _text(prompt), **fields}, as_json)
    else:
        _file(found, instances, output, fields, concurrency, resume, as_json)


def _text(prompt: str | None) -> str:
    if prompt not in (None, "-"):
        return given_text(str(prompt), "The prompt")
    if prompt is None and sys.stdin.isatty():
        fail(
            'What is the prompt? vertex-vllm predict --stack dev "A car is", or a pipe, or --instances FILE.'
        )
    text = piped_text("The prompt on stdin")
    if not text:
        fail("The prompt on stdin is empty.")
    return text.removesuffix("\n")


def _adapter(given: str, endpoint: Endpoint) -> str:
    """What the route takes for an adapter: a name of the stack file is looked up among the stack's outputs."""
    if "/" in given:
        return given
    outputs = endpoint.outputs.get("lora")
    adapters = outputs if isinstance(outputs, dict) else {}
    if given not in adapters:
        has = (
            f"the stack has {', '.join(sorted(adapters))}"
            if adapters
            else "there is none in the stack's outputs"
        )
        fail(f"--lora-id {given}: no adapter of that name; {has}. Or give gs://bucket/path, or a repository.")
    return str(adapters[given])


def _multi_modal_data(image: str | None, endpoint: Endpoint) -> dict[str, str] | None:
    if image is None:
        return None
    from infra.client import ClientError
    from infra.client.images import image_part

    try:
        part = image_part(image, dedicated=endpoint.dedicated)
    except ClientError as error:
        give_up(error)
    return {"image": part["image_url"]["url"]}


def _one(endpoint: Endpoint, fields: dict[str, Any], as_json: bool) -> None:
    import asyncio

    from infra.client import ClientError
    from infra.client.predict import Predictor

    async def ask() -> Answer:
        async with Predictor(endpoint, endpoint.token()) as predictor:
            return await predictor.ask(fields)

    try:
        answer = asyncio.run(ask())
    except ClientError as error:
        give_up(error)
    if not answer.ok:
        _no_answer(endpoint, answer, fields)
    if as_json:
        shown = {
            "endpoint": endpoint.name,
            "deployed_model_id": answer.deployed_model_id,
            "prediction": answer.prediction,
            "seconds": round(answer.seconds, 3),
        }
        print_json(shown)
        return
    many = answer.prediction if isinstance(answer.prediction, list) else [answer.prediction]
    for each in many:
        _say(str(each))


def _say(text: str) -> None:
    """A model's text: as it is into a pipe, without what a terminal would obey on one."""
    if sys.stdout.isatty():
        from infra.client.logs import printable

        text = printable(text)
    # Not by typer.echo, which takes escape sequences away in a pipe.
    console().file.write(text.encode("utf-8", "replace").decode() + "\n")


def _no_answer(endpoint: Endpoint, answer: Answer, fields: Mapping[str, Any]) -> NoReturn:
    from infra.client.advice import advice, timed_out
    from infra.client.endpoint import with_time_out
    from infra.client.predict import DEFAULT_MAX_TOKENS

    token = endpoint.token()
    if timed_out(answer.status, answer.error, endpoint, answer.seconds):
        endpoint = with_time_out(endpoint, token)
    max_tokens = fields.get("max_tokens", DEFAULT_MAX_TOKENS)
    said = advice(
        endpoint,
        answer.status,
        answer.error,
        seconds=answer.seconds,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        fixed_token=token.fixed,
    )
    typer.echo(said, err=True)
    raise typer.Exit(Exit.NO_ANSWER)


def _file(
    endpoint: Endpoint,
    path: Path,
    output: Path | None,
    fields: dict[str, Any],
    concurrency: int,
    resume: bool,
    as_json: bool,
) -> None:
    """Every instance of a file; the answers go to another, a bar to stderr."""
    import asyncio

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from infra.client import ClientError
    from infra.client.batch import Answers, ask_all, read_instances, rereadable
    from infra.client.predict import Predictor

    if output is None and (str(path) == "-" or (path.exists() and not path.is_file())):
        fail(f"--instances {path} is no file that answers could stand beside: name one with -o FILE.")
    output = output or path.with_name(f"{path.name.removesuffix('.jsonl')}.predictions.jsonl")
    if str(output) == "-":
        fail("-o names a file, from which a later run goes on; `cat` shows it.")
    failures: Counter[tuple[int | None, str]] = Counter()
    first: dict[tuple[int | None, str], tuple[Instance, Answer]] = {}
    done = kept = total = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    err = console(sys.stderr)
    try:
        if output.exists() and path.exists() and output.samefile(path):
            fail(f"-o {output} is the file of instances itself. Name another.")
        with rereadable(path) as file:
            read = partial(read_instances, file, fields, name=str(path))
            total = sum(1 for _ in read())  # a wrong line is found before anything is asked
            if not total:
                fail(f"{path} has no instance.")
            with Answers(output, resume=resume) as answers:
                kept = sum(1 for each in read() if answers.has(each))
                with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
                    task = bar.add_task("predictions", total=total, completed=kept)

                    def tell(instance: Instance, answer: Answer) -> None:
                        nonlocal done
                        answers.add(instance, answer)
                        if answer.ok:
                            done += 1
                        else:
                            kind = (answer.status, answer.error)
                            failures[kind] += 1
                            first.setdefault(kind, (instance, answer))
                        failed = f", {failures.total()} failed" if failures else ""
                        bar.update(task, advance=1, description=f"predictions{failed}")

                    async def run() -> Answer | None:
                        missing = (each for each in read() if not answers.has(each))
                        async with Predictor(
                            endpoint, endpoint.token(), concurrency=concurrency
                        ) as predictor:
                            return await ask_all(predictor, missing, tell, concurrency=concurrency)

                    stopped = asyncio.run(run())
                if stopped is None:
                    answers.put_in_order()
    except ClientError as error:
        give_up(error)
    except KeyboardInterrupt:
        typer.echo(
            f"\nStopped: {output} has {kept + done} of {total} predictions. The same command goes on.",
            err=True,
        )
        raise
    if as_json:
        print_json(
            {
                "output": str(output),
                "instances": total,
                "predicted": done,
                "kept": kept,
                "failed": failures.total(),
                "not_asked": total - done - kept - failures.total(),
            }
        )
    earlier = f", {kept} of them from an earlier run" if kept else ""
    typer.echo(f"{output}: {kept + done} of {total} predictions{earlier}", err=True)
    if not failures:
        return
    (worst, times), *others = failures.most_common()
    instance, answer = first[worst]
    which = f"line {instance.line}" + (f" and {times - 1} more with the error below" if times > 1 else "")
    rest = "; the others are in the file" if others else ""
    unasked = " The rest was not asked." if stopped is not None else ""
    typer.echo(f"{failures.total()} failed: {which}{rest}.{unasked} The same command asks again.", err=True)
    _no_answer(endpoint, answer, instance.fields)
