"""``vertex-vllm adopt``: a stack file and an import file for an endpoint that exists already."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.common import Exit, console, fail, print_json
from infra.cli.target import Project, TargetRegion, give_up, target

if TYPE_CHECKING:
    from infra.client import Endpoint

__all__ = ["adopt"]

Json = dict[str, Any]


def adopt(
    endpoint: Annotated[
        str,
        typer.Argument(metavar="ENDPOINT", help="Id, display name or projects/P/locations/R/endpoints/ID."),
    ],
    project: Project = None,
    region: TargetRegion = None,
    deployed_model: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which deployed model; needed where the endpoint has several."),
    ] = None,
    stack_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Stack file to write (default: stacks/ and the name of model and GPUs)."
        ),
    ] = None,
    import_file: Annotated[
        Path, typer.Option(metavar="FILE", help="File for `pulumi import` to write.")
    ] = Path("import.json"),
    force: Annotated[bool, typer.Option(help="Overwrite files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was found and written, as JSON.")] = False,
) -> None:
    """Write the stack file and the import file with which a stack takes over an endpoint that exists.

    Only reads the cloud. Says what differs from what a stack would make, and what to type; docs/import.md has an
    example.

    \b
    Examples:
      vertex-vllm adopt 7849235012345678901 --project my-project --region us-central1
      vertex-vllm adopt my-endpoint --project my-project --region us-central1 --deployed-model 123 --json

    \b
    Exit status:
      0  written; what differs is in the text
      2  wrong usage, no such endpoint, its container cannot become a stack file, or the one that was written is refused
      8  Vertex AI cannot be asked
    """
    import yaml

    from infra.client import ClientError
    from infra.client.endpoint import ROOT
    from infra.client.google import Google
    from infra.provider.deployed import live_model
    from infra.recipes import StackError
    from infra.recipes.existing import container_differences, stack_file_of

    found = target(None, None, endpoint, project, region)
    # Google answers with the project's number, wherever it was asked by its id; pulumi-gcp writes ids.
    id = next((each for each in (project, os.environ.get("GOOGLE_CLOUD_PROJECT"), found.project) if each), "")
    if id.isdigit():
        fail(
            f"{id} is a project's number; a stack needs its id. Give --project ID "
            "(gcloud projects describe NUMBER shows it)."
        )
    found = replace(found, project=id, name=f"projects/{id}/locations/{found.region}/endpoints/{found.id}")
    try:
        with Google(found) as google:
            live = google.endpoint()
            deployed = _chosen(live, deployed_model)
            model = google.model(live_model(deployed))
    except ClientError as error:
        give_up(error)
    container = model.get("containerSpec") or {}
    try:
        content = stack_file_of(container, deployed, dedicated=bool(live.get("dedicatedEndpointEnabled")))
    except StackError as error:
        fail(error)
    stack_file = stack_file or ROOT / "stacks" / f"{_name(content)}.yaml"
    for path in (stack_file, import_file):
        if path.exists() and not force:
            fail(
                f"{path} is there already. Name another file (--stack-file, --import-file), or --force overwrites it."
            )
    header = f"# yaml-language-server: $schema=schema/stack.json\n# What serves on {found.name}.\n"
    try:
        stack_file.write_text(header + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        import_file.write_text(json.dumps(_imports(found, live, deployed), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename} cannot be written: {error.strerror}.")
    differences, refusal = _planned(stack_file, found.region, container, container_differences)
    report = _report(found, live, deployed, container) | {
        "stack_file": _relative(stack_file),
        "import_file": str(import_file),
        "differences": differences,
        "refused": refusal,
    }
    report["settings"]["vertex-vllm:stackFile"] = report["stack_file"]
    if as_json:
        print_json(report)
    else:
        _tell(report)
    if refusal:
        raise typer.Exit(Exit.BAD_INPUT)


def _chosen(live: Json, wanted: str | None) -> Json:
    models = [each for each in live.get("deployedModels") or () if isinstance(each, dict)]
    if wanted is None and len(models) == 1:
        return models[0]
    for each in models:
        if str(each.get("id")) == wanted:
            return each
    if not models:
        fail(
            f"{live.get('name')} has no deployed model. pulumi up deploys one: there is nothing to take over."
        )
    split = live.get("trafficSplit") or {}
    shown = ", ".join(
        f"{each.get('id')} ({split.get(str(each.get('id')), 0)} % of the traffic)" for each in models
    )
    asked = f"has no deployed model {wanted}" if wanted else "has several deployed models"
    fail(f"{live.get('name')} {asked}: {shown}. Choose one with --deployed-model ID; a stack has one.")


def _name(content: Json) -> str:
    hardware = content["hardware"]
    gpu = str(hardware["accelerator_type"]).rpartition("_")[2].lower()
    return (
        f"{str(content['model']).rpartition('/')[2].lower()}.{gpu}x{hardware['accelerator_count']}.imported"
    )


def _imports(found: Endpoint, live: Json, deployed: Json) -> Json:
    """The file for ``pulumi import --file``: endpoint, model and deployment, below the components that own them."""
    from components import deployment, endpoint, model, serving
    from infra.program import NAME
    from infra.provider.deployed import live_model

    def component(name: str, logical: str, token: str, parent: str | None = None) -> Json:
        above = {"parent": parent} if parent else {}
        return {"type": token, "name": name, "logicalName": logical, "component": True, **above}

    def resource(name: str, logical: str, token: str, parent: str, id: str) -> Json:
        return {"type": token, "name": name, "logicalName": logical, "parent": parent, "id": id}

    parent = f"projects/{found.project}/locations/{found.region}"
    where = f"{parent}/endpoints/{found.id}"
    uploaded = live_model(deployed).rpartition("/")[2]
    return {
        "resources": [
            component("served", NAME, serving.TOKEN),
            component("servingEndpoint", f"{NAME}-endpoint", endpoint.TOKEN, "served"),
            component("uploadedModel", f"{NAME}-model", model.TOKEN, "served"),
            component("modelDeployment", NAME, deployment.TOKEN, "served"),
            resource(
                "endpoint", f"{NAME}-endpoint", "gcp:vertex/aiEndpoint:AiEndpoint", "servingEndpoint", where
            ),
            resource(
                "model",
                f"{NAME}-model",
                "vertexserving:index:Model",
                "uploadedModel",
                f"{parent}/models/{uploaded}",
            ),
            resource(
                "deployment",
                NAME,
                "vertexserving:index:Deployment",
                "modelDeployment",
                f"{where}/deployedModels/{deployed['id']}",
            ),
        ]
    }


def _planned(stack_file: Path, region: str, container: Json, differences: Any) -> tuple[list[str], str]:
    """Where the plan of the written file would start another container, and what keeps it from being planned."""
    from infra.cli.stack import plan_of
    from infra.recipes import StackError

    try:
        plan, refusal = plan_of(stack_file, region=region)
    except StackError as error:
        return [], str(error)
    return differences(plan.container.inputs(), container), str(refusal or "")


def _report(found: Endpoint, live: Json, deployed: Json, container: Json) -> Json:
    """What is there, and the settings that a stack needs to take it over."""
    from infra.recipes.existing import needs_token

    account = deployed.get("serviceAccount")
    split = live.get("trafficSplit") or {}
    return {
        "endpoint": found.name,
        "deployed_model_id": deployed["id"],
        "model": deployed["model"],
        "settings": {
            "gcp:project": found.project,
            "gcp:region": found.region,
            "vertex-vllm:endpointId": found.id,
            **({"vertex-vllm:serviceAccount": account} if account else {}),
        },
        "needs_token": needs_token(container),
        "left": {
            str(each["id"]): int(split.get(str(each["id"]), 0))
            for each in live.get("deployedModels") or ()
            if each.get("id") != deployed["id"]
        },
    }


def _relative(path: Path) -> str:
    from infra.client.endpoint import ROOT

    whole = path.resolve()
    return str(whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole)


def _tell(report: Json) -> None:
    out = console()

    def say(text: str = "") -> None:
        out.print(text, markup=False, soft_wrap=True)

    say(f"{report['endpoint']}: deployed model {report['deployed_model_id']}, model {report['model']}")
    say(f"wrote {report['stack_file']} and {report['import_file']}")
    for id, share in report["left"].items():
        say(f"not taken over: deployed model {id} ({share} % of the traffic); it goes on billing")
    if report["refused"]:
        say(f"\nThe stack file is refused: {report['refused']}")
    elif report["differences"]:
        say("\nAnother container would be started, so the model would be uploaded and deployed anew:")
        for each in report["differences"]:
            say(f"  {each}")
    else:
        say("the stack file starts the same container: nothing is deployed anew")
    say("\nThen, in a stack of its own (pulumi stack init NAME):")
    for key, value in report["settings"].items():
        say(f"  pulumi config set {key} {value}")
    if "vertex-vllm:serviceAccount" not in report["settings"]:
        say("  (it runs as no service account of its own; a stack deploys with one, so it is deployed anew)")
    if report["needs_token"]:
        say("  pulumi config set --secret vertex-vllm:hfToken     # the one that the model was uploaded with")
    say(
        "  pulumi config set vertex-vllm:bucket BUCKET           # an existing one in the region; else one is made"
    )
    say(f"  pulumi import --file {report['import_file']} --protect=false --generate-code=false")
    say("  pulumi preview --diff                                # names and labels change in place")
