"""Which endpoint is asked and at which addresses, by stack, outputs, id or name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra.client import BadTarget, NoAnswer, find, read
from infra.local.cloud.testing import NUMBER
from infra.recipes import endpoint_urls
from tests.client.conftest import ENDPOINT_IDS, Served
from tests.loopback import Answer, Request, serving

NAME = "projects/my-project/locations/us-central1/endpoints/42"
DNS = "42.us-central1-123456789012.prediction.vertexai.goog"
WHERE: dict[str, Any] = {"project": "local-project", "region": "us-central1"}


def outputs(dns: str | None, api: str | None, name: str = NAME) -> dict[str, Any]:
    """What the program exports for an endpoint."""
    urls = endpoint_urls(name, region="us-central1", dedicated_dns=dns, api_endpoint=api)
    return {
        "endpoint": name,
        "openai_base_url": urls.openai_base_url,
        "predict_url": urls.predict_url,
        "dedicated_endpoint_dns": dns,
        "deployed_model_id": "7",
        "model": "projects/my-project/locations/us-central1/models/m",
    }


def written(path: Path, value: object) -> Path:
    """A file of outputs."""
    file = path / "outputs.json"
    file.write_text(json.dumps(value))
    return file


def environ(served: Served) -> dict[str, str]:
    """What leads to the local cloud."""
    return {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": f"{served.cloud.url}/v1beta1/"}


# By outputs


@pytest.mark.parametrize("dns", [None, DNS])
@pytest.mark.parametrize("api", [None, "http://127.0.0.1:8099/v1beta1/", "http://localhost:8099"])
def test_outputs_give_the_addresses_that_the_stack_printed(
    tmp_path: Path, dns: str | None, api: str | None
) -> None:
    given = outputs(dns, api)
    found = find(outputs=written(tmp_path, given), environ={})
    urls = endpoint_urls(NAME, region="us-central1", dedicated_dns=dns, api_endpoint=api)
    assert found.openai_base_url == urls.openai_base_url
    assert found.predict_url == urls.predict_url
    assert found.raw_predict_url == urls.raw_predict_url
    assert found.stream_raw_predict_url == urls.stream_raw_predict_url
    assert (found.project, found.region, found.id) == ("my-project", "us-central1", "42")
    assert found.dedicated is (dns is not None)
    assert found.local is (api is not None)
    assert found.api == (
        (api or "").removesuffix("/v1beta1/") if api else "https://us-central1-aiplatform.googleapis.com"
    )
    assert found.timeout_s == (None if dns else 60)
    assert [each.id for each in found.deployed] == ["7"]


def test_no_token_goes_to_a_stranger(tmp_path: Path) -> None:
    file = written(tmp_path, outputs(None, "https://example.com"))
    with pytest.raises(
        BadTarget, match=r"example\.com, which is neither Google's nor on this machine"
    ) as told:
        find(outputs=file, environ={})
    assert "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT=https://example.com" in str(told.value)
    mine = find(outputs=file, environ={"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "https://example.com/v1beta1/"})
    assert mine.openai_base_url.startswith("https://example.com/v1beta1/projects/")
    assert mine.token({"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29"}).get() == "ya29"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "prediction.vertexai.goog.evil.example",
        "evil.example/.prediction.vertexai.goog",
        "evil.example?.prediction.vertexai.goog",
    ],
)
def test_no_token_goes_to_a_strange_host_of_its_own(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadTarget, match="no host of a dedicated endpoint"):
        find(outputs=written(tmp_path, outputs(host, None)), environ={})


@pytest.mark.parametrize("region", ["evil.example?", "evil.example#", "a/b", ""])
def test_no_region_leads_to_another_host(tmp_path: Path, region: str) -> None:
    name = f"projects/my-project/locations/{region}/endpoints/42"
    urls = endpoint_urls(name, region=region)
    given = {"endpoint": name, "openai_base_url": urls.openai_base_url, "predict_url": urls.predict_url}
    with pytest.raises(BadTarget):
        find(outputs=written(tmp_path, given), environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29"})
    with pytest.raises(BadTarget):
        find(endpoint="1", project="p", region=region, environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29"})
    with pytest.raises(BadTarget):
        find(endpoint=name, environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "has no endpoint among its outputs"),
        ('{"endpoint": "projects/p", "openai_base_url": "x", "predict_url": "y"}', "has no endpoint among"),
        ("[]", "no JSON of `pulumi stack output --json`"),
        ("nothing", "no JSON of `pulumi stack output --json`"),
    ],
)
def test_a_file_that_is_no_outputs(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "o.json"
    file.write_text(content)
    with pytest.raises(BadTarget, match=said):
        find(outputs=file, environ={})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTarget, match="cannot be read: No such file"):
        find(outputs=tmp_path / "none.json", environ={})


# By stack


def pulumi(folder: Path, script: str) -> dict[str, str]:
    """A PATH with a `pulumi` that does this."""
    folder.mkdir(exist_ok=True)
    program = folder / "pulumi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.defpath}"}


def test_a_stack_is_asked_for_its_outputs(tmp_path: Path) -> None:
    file = written(tmp_path, outputs(DNS, None))
    environment = pulumi(tmp_path / "bin", f'echo "$*" > {tmp_path}/asked; cat {file}')
    found = find(stack="prod", environ=environment, root=tmp_path)
    assert (found.stack, found.dns, found.local) == ("prod", DNS, False)
    assert found.outputs["deployed_model_id"] == "7"
    assert (tmp_path / "asked").read_text().split() == (
        ["stack", "output", "--json", "--non-interactive", "--stack", "prod"]
    )


def test_the_local_stack_is_asked_with_the_environment_of_make_up(tmp_path: Path) -> None:
    file = written(tmp_path, outputs(None, "http://127.0.0.1:8099"))
    path = pulumi(tmp_path / "bin", f'test "$PULUMI_BACKEND_URL" = file://here && cat {file}')["PATH"]
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/env").write_text(f"PATH='{path}'\nexport PATH PULUMI_BACKEND_URL=file://here\n")
    assert find(stack="local", environ={"PATH": os.defpath}, root=tmp_path).local


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo 'error: no stack named \"prod\" found' >&2; exit 255", BadTarget, "There is no stack prod"),
        (
            "echo 'error: get stack outputs: passphrase must be set' >&2; exit 255",
            NoAnswer,
            "passphrase must be",
        ),
        ("echo 'error: PULUMI_ACCESS_TOKEN must be set for login' >&2; exit 255", NoAnswer, "pulumi login"),
        ("echo '{}'", BadTarget, r"nothing is deployed yet\. pulumi up --stack prod"),
        ("echo hello", BadTarget, "no JSON"),
    ],
)
def test_a_stack_that_has_no_answer(tmp_path: Path, script: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        find(stack="prod", environ=pulumi(tmp_path / "bin", script), root=tmp_path)


def test_without_pulumi_the_other_ways_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match=r"no pulumi on PATH(.|\n)*--outputs FILE(.|\n)*--endpoint ID"):
        find(stack="prod", environ={"PATH": str(tmp_path)}, root=tmp_path)


@pytest.mark.parametrize("given", [{}, {"stack": "a", "endpoint": "1"}, {"outputs": "a", "stack": "b"}])
def test_exactly_one_way(given: dict[str, str]) -> None:
    with pytest.raises(BadTarget, match="one of --stack NAME, --outputs FILE and --endpoint ID"):
        find(**given, environ={})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["stack", "outputs", "endpoint"])
def test_an_empty_option_is_a_variable_that_is_not_set(option: str) -> None:
    """Pulumi would take the selected stack for it."""
    with pytest.raises(BadTarget, match=f"^--{option} is empty: a variable that is not set"):
        find(**{option: ""}, environ={})  # type: ignore[arg-type]


# By Vertex AI


@pytest.mark.parametrize("kind", ["shared", "dedicated"])
def test_an_endpoint_is_found_by_id_by_its_name_in_the_console_and_by_its_whole_name(
    served: Served, kind: str
) -> None:
    env = environ(served)
    by_id = find(endpoint=ENDPOINT_IDS[kind], **WHERE, environ=env)
    assert by_id.openai_base_url == served.urls[kind].openai_base_url
    assert by_id.predict_url == served.urls[kind].predict_url
    assert by_id.timeout_s == (60 if kind == "shared" else 600)
    assert [(each.id, each.traffic) for each in by_id.deployed] == [("1", 100)]
    assert find(endpoint=served.names[kind], environ=env) == by_id
    assert (
        find(
            endpoint=kind,
            environ={**env, "GOOGLE_CLOUD_PROJECT": "local-project", "GOOGLE_REGION": "us-central1"},
        )
        == by_id
    )


def test_what_a_stack_knows_is_completed_by_what_vertex_ai_says(served: Served, tmp_path: Path) -> None:
    found = find(outputs=written(tmp_path, served.outputs("dedicated")), environ={})
    whole = read(found, found.token({}))
    assert (found.timeout_s, whole.timeout_s) == (None, 600)
    assert whole.openai_base_url == found.openai_base_url
    assert whole.deployed[0].display_name == "d"
    assert whole.outputs == found.outputs


def test_an_endpoint_that_is_not_there_names_those_that_are(served: Served) -> None:
    with pytest.raises(BadTarget) as told:
        find(endpoint="99", **WHERE, environ=environ(served))
    assert "no endpoint '99' (project local-project, region us-central1)" in str(told.value)
    assert "1001 (shared)" in str(told.value)
    assert "1002 (dedicated)" in str(told.value)


def test_what_an_endpoint_needs_besides_its_id() -> None:
    with pytest.raises(BadTarget, match=r"--endpoint 1 needs --project and --region; or give the whole name"):
        find(endpoint="1", environ={})


@pytest.mark.parametrize("status", [400, 404])
def test_two_of_one_name_are_told_apart_by_id(status: int) -> None:
    names = [f"projects/{NUMBER}/locations/us-central1/endpoints/{number}" for number in (5, 6)]

    def answer(request: Request) -> Answer:
        if request.path.endswith("/endpoints/twin"):
            return Answer(status, b'{"error": {"message": "not an endpoint"}}')
        return Answer(
            200, json.dumps({"endpoints": [{"name": name, "displayName": "twin"} for name in names]}).encode()
        )

    with serving(answer) as url, pytest.raises(BadTarget, match=r"2 endpoints are called 'twin'.*: 5, 6"):
        find(endpoint="twin", **WHERE, environ={"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": url})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(403, b'{"error": {"code": 403, "message": "Permission denied on it."}}'),
            "403: Permission denied on it",
        ),
        (Answer(502, b"<html>bad gateway</html>"), "502 without JSON"),
        (Answer(200, b"<html>sign in</html>"), "200 without JSON"),
        (Answer(200, b"{}"), "an endpoint without a name"),
        (Answer(0), "cannot be reached"),
    ],
)
def test_an_answer_that_says_nothing(answer: Answer, said: str) -> None:
    with serving(lambda _: answer) as url, pytest.raises(NoAnswer, match=said):
        find(endpoint="1", **WHERE, environ={"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": url})


def test_no_proxy_is_asked_for_this_machine(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert find(endpoint="1001", **WHERE, environ=environ(served)).local
