"""Settings of an environment: what is read, what each wrong one is told, to the letter.

Proves the checks that need no engine. That nothing is registered after a wrong setting is proved in
`tests/engine/test_program.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.recipes import catalog, nearest
from infra.recipes.errors import StackError
from infra.settings import KEYS, RawSettings, Settings, parse, subject
from infra.settings.file import read_file
from infra.settings.values import MAX_LABELS

ROOT = Path(__file__).resolve().parents[1]
LLAMA = "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
TOKEN = "hf_verySecretToken"

GOOD = {
    "gcp:project": "my-project",
    "gcp:region": "us-central1",
    "vertex-vllm:stackFile": LLAMA,
    "vertex-vllm:hfToken": TOKEN,
}
LOCAL = {
    "LOCAL_CLOUD_URL": "http://127.0.0.1:8099",
    "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "http://127.0.0.1:8099/v1beta1/",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two stack files; error texts name files relative to it."""
    (tmp_path / "stacks").mkdir()
    for name in ("meta-llama-3.1-8b-instruct.l4x1", "llama-3.2-1b.l4x1"):
        shutil.copy(ROOT / "stacks" / f"{name}.yaml", tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(
    root: Path,
    changes: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    secret: bool = True,
) -> Settings:
    config = {key: value for key, value in {**GOOD, **(changes or {})}.items() if value is not None}
    raw = RawSettings(
        pulumi_project="vertex-vllm",
        stack="dev",
        config=config,
        secret_keys=frozenset({"vertex-vllm:hfToken"} if secret else ()),
        environment=environment or {},
    )
    return parse(raw, root)


def stack_file(root: Path, **sections: Any) -> None:
    """Changes the stack file that the settings name."""
    path = root / LLAMA
    document = yaml.safe_load(path.read_text())
    for key, value in sections.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(document))


def choices(value: str, valid: Iterable[str]) -> str:
    """The line of choices, closest first; how close is for `infra.recipes` to say."""
    near = nearest(value, valid)
    more = f" and {len(near) - 8} more" if len(near) > 8 else ""
    return f"    choices: {', '.join(near[:8])}{more}\n"


SHIPPED = ("stacks/llama-3.2-1b.l4x1.yaml", LLAMA)
USE_LLAMA = f"    fix: pulumi config set vertex-vllm:stackFile {LLAMA}"
ENV = "    fix: run `. .local/env` in this shell first (`make up` writes that file)"


def _json() -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )


# (changed settings, environment, text after "Pulumi.dev.yaml: ")
BAD: list[tuple[dict[str, str | None], dict[str, str], str]] = [
    (
        {"gcp:project": None},
        {},
        "gcp:project: the Google Cloud project is not set.\n    fix: pulumi config set gcp:project YOUR_PROJECT_ID",
    ),
    (
        {"gcp:project": "123456789012"},
        {},
        "gcp:project = '123456789012': a project number, where the project id is needed.\n"
        "    fix: pulumi config set gcp:project YOUR_PROJECT_ID",
    ),
    (
        {"gcp:project": "My_Project"},
        {},
        "gcp:project = 'My_Project': not a project id: 6 to 30 lower-case letters, digits and hyphens, a letter "
        "first, no hyphen last.\n    fix: pulumi config set gcp:project YOUR_PROJECT_ID",
    ),
    (
        {"gcp:region": None},
        {},
        "gcp:region: the region is not set.\n"
        "    choices: us-central1, africa-south1, asia-east1, asia-east2, asia-northeast1, asia-northeast2, "
        "asia-northeast3, asia-south1 and 31 more\n"
        "    fix: pulumi config set gcp:region us-central1",
    ),
    (
        {"gcp:region": "us-centrall1"},
        {},
        "gcp:region = 'us-centrall1': not a region where Vertex AI serves models on GPUs.\n"
        f"{choices('us-centrall1', sorted(catalog().regions()))}    fix: pulumi config set gcp:region us-central1",
    ),
    (
        {"gcp:region": "us-central1-a"},
        {},
        "gcp:region = 'us-central1-a': a zone, where a region is needed.\n"
        "    choices: us-central1\n    fix: pulumi config set gcp:region us-central1",
    ),
    (
        {"vertex-vllm:stackFile": None},
        {},
        "vertex-vllm:stackFile: no stack file is chosen.\n"
        "    choices: stacks/llama-3.2-1b.l4x1.yaml, stacks/meta-llama-3.1-8b-instruct.l4x1.yaml\n"
        "    fix: pulumi config set vertex-vllm:stackFile stacks/llama-3.2-1b.l4x1.yaml",
    ),
    (
        {"vertex-vllm:stackFile": "stacks/meta-llama-3.1-8b-instruct.yaml"},
        {},
        "vertex-vllm:stackFile = 'stacks/meta-llama-3.1-8b-instruct.yaml': there is no such file.\n"
        f"{choices('stacks/meta-llama-3.1-8b-instruct.yaml', SHIPPED)}{USE_LLAMA}",
    ),
    (
        {"vertex-vllm:stackFile": "stacks"},
        {},
        f"vertex-vllm:stackFile = 'stacks': not a YAML file.\n{choices('stacks', SHIPPED)}"
        f"    fix: pulumi config set vertex-vllm:stackFile {nearest('stacks', SHIPPED)[0]}",
    ),
    (
        {"vertex-vllm:stackFile": "../meta-llama-3.1-8b-instruct.l4x1.yaml"},
        {},
        "vertex-vllm:stackFile = '../meta-llama-3.1-8b-instruct.l4x1.yaml': outside the project: a stack file "
        f"lies below Pulumi.yaml.\n{choices('../meta-llama-3.1-8b-instruct.l4x1.yaml', SHIPPED)}{USE_LLAMA}",
    ),
    (
        {"vertex-vllm:stackFile": "/etc/meta-llama-3.1-8b-instruct.l4x1.yaml"},
        {},
        "vertex-vllm:stackFile = '/etc/meta-llama-3.1-8b-instruct.l4x1.yaml': outside the project: a stack file "
        f"lies below Pulumi.yaml.\n{choices('/etc/meta-llama-3.1-8b-instruct.l4x1.yaml', SHIPPED)}{USE_LLAMA}",
    ),
    (
        {"vertex-vllm:stackFile": "stacks/link.yaml"},
        {},
        "vertex-vllm:stackFile = 'stacks/link.yaml': outside the project: a stack file lies below Pulumi.yaml.\n"
        "    choices: stacks/link.yaml, stacks/llama-3.2-1b.l4x1.yaml, stacks/meta-llama-3.1-8b-instruct.l4x1.yaml\n"
        "    fix: pulumi config set vertex-vllm:stackFile stacks/link.yaml",
    ),
    (
        {"vertex-vllm:stackfile": LLAMA},
        {},
        "vertex-vllm:stackfile: there is no such setting.\n"
        + choices("stackfile", KEYS).replace(": ", ": vertex-vllm:").replace(", ", ", vertex-vllm:")
        + "    fix: pulumi config rm vertex-vllm:stackfile, and set vertex-vllm:stackFile if that was meant",
    ),
    (
        {"vertex-vllm:labels": "owner"},
        {},
        "vertex-vllm:labels = 'owner': not a map of names to values.\n"
        "    fix: pulumi config set --path vertex-vllm:labels.owner NAME",
    ),
    (
        {"vertex-vllm:labels": '["owner"]'},
        {},
        "vertex-vllm:labels = '[\"owner\"]': not a map of names to values.\n"
        "    fix: pulumi config set --path vertex-vllm:labels.owner NAME",
    ),
    (
        {"vertex-vllm:endpoint": "my endpoint"},
        {},
        "vertex-vllm:endpoint = 'my endpoint': not an endpoint's id or full name.\n"
        "    fix: write projects/my-project/locations/us-central1/endpoints/ID or its ID, or "
        "pulumi config rm vertex-vllm:endpoint to have one made",
    ),
    (
        {"vertex-vllm:endpoint": "projects/my-project/locations/europe-west4/endpoints/5"},
        {},
        "vertex-vllm:endpoint = 'projects/my-project/locations/europe-west4/endpoints/5': the endpoint is in "
        "europe-west4, the model is served in us-central1.\n"
        "    fix: pulumi config set gcp:region europe-west4, or pulumi config rm vertex-vllm:endpoint to have one made",
    ),
    (
        {"vertex-vllm:endpoint": "projects/other-project/locations/us-central1/endpoints/5"},
        {},
        "vertex-vllm:endpoint = 'projects/other-project/locations/us-central1/endpoints/5': the endpoint is in project "
        "other-project, the stack in my-project.\n"
        "    fix: pulumi config set gcp:project other-project, or pulumi config rm vertex-vllm:endpoint to have one "
        "made",
    ),
    (
        {"vertex-vllm:endpoint": "5", "vertex-vllm:endpointId": "6"},
        {},
        "vertex-vllm:endpointId = '6': vertex-vllm:endpoint is set too: an endpoint is another's (endpoint) or the "
        "stack's own (endpointId).\n    fix: pulumi config rm vertex-vllm:endpointId, or rm vertex-vllm:endpoint",
    ),
    (
        {"vertex-vllm:labels": "{" + ",".join(f'"l{i}":"x"' for i in range(MAX_LABELS + 1)) + "}"},
        {},
        "vertex-vllm:labels: 58 labels, and at most 57 fit.\n    fix: remove some of them",
    ),
    (
        {"vertex-vllm:labels": '{"Owner": "me"}'},
        {},
        "vertex-vllm:labels.Owner = 'me': not a label name: 1 to 63 lower-case letters, digits, hyphens and "
        "underscores, a letter first.\n    fix: rename the label",
    ),
    (
        {"vertex-vllm:labels": '{"owner": "Team A"}'},
        {},
        "vertex-vllm:labels.owner = 'Team A': not a label value: at most 63 lower-case letters, digits, hyphens and "
        "underscores.\n    fix: write it as team-a",
    ),
    (
        {"vertex-vllm:labels": '{"cost-center": 42}'},
        {},
        'vertex-vllm:labels.cost-center = 42: not text.\n    fix: put it in quotes: cost-center: "42"',
    ),
    (
        {"vertex-vllm:labels": '{"vertex-vllm-stack": "x"}'},
        {},
        "vertex-vllm:labels.vertex-vllm-stack = 'x': names that begin with vertex-vllm- or goog are taken.\n"
        "    fix: rename the label",
    ),
    (
        {"vertex-vllm:labels": '{"goog-x": "x"}'},
        {},
        "vertex-vllm:labels.goog-x = 'x': names that begin with vertex-vllm- or goog are taken.\n"
        "    fix: rename the label",
    ),
    (
        {"vertex-vllm:maxUsdPerHour": "five"},
        {},
        "vertex-vllm:maxUsdPerHour = 'five': not a number of US dollars an hour.\n"
        "    fix: pulumi config set vertex-vllm:maxUsdPerHour 5",
    ),
    (
        {"vertex-vllm:maxUsdPerHour": "nan"},
        {},
        "vertex-vllm:maxUsdPerHour = 'nan': not a number of US dollars an hour.\n"
        "    fix: pulumi config set vertex-vllm:maxUsdPerHour 5",
    ),
    (
        {"vertex-vllm:maxUsdPerHour": "-1"},
        {},
        "vertex-vllm:maxUsdPerHour = '-1': a budget is more than 0 US dollars an hour (0 is none).\n"
        "    fix: pulumi config rm vertex-vllm:maxUsdPerHour",
    ),
    (
        {"vertex-vllm:maxUsdPerHour": "1"},
        {},
        "vertex-vllm:maxUsdPerHour = 1.0: g2-standard-12 in us-central1 costs 1.15 US dollars an hour, which is over "
        "the budget.\n    fix: pulumi config set vertex-vllm:maxUsdPerHour 1.15, or choose a smaller machine",
    ),
    (
        {"vertex-vllm:bucket": "gs://my-bucket/models"},
        {},
        "vertex-vllm:bucket = 'gs://my-bucket/models': a path in a bucket.\n"
        "    fix: pulumi config set vertex-vllm:bucket my-bucket",
    ),
    (
        {"vertex-vllm:bucket": "My-Bucket"},
        {},
        "vertex-vllm:bucket = 'My-Bucket': not a bucket name: lower-case letters, digits, hyphens, underscores and "
        "dots, no mark first or last.\n"
        "    fix: name an existing bucket, or pulumi config rm vertex-vllm:bucket to have one made",
    ),
    (
        {"vertex-vllm:bucket": "ab"},
        {},
        "vertex-vllm:bucket = 'ab': 2 characters; a bucket name has 3 to 63, or to 222 with dots.\n"
        "    fix: name an existing bucket, or pulumi config rm vertex-vllm:bucket to have one made",
    ),
    (
        {"vertex-vllm:bucket": "my-bucket", "vertex-vllm:onDestroyBucket": "delete"},
        {},
        "vertex-vllm:onDestroyBucket = 'delete': the existing bucket my-bucket (vertex-vllm:bucket) is never deleted "
        "by a stack.\n"
        "    fix: pulumi config rm vertex-vllm:onDestroyBucket, or rm vertex-vllm:bucket to have one made",
    ),
    (
        {"vertex-vllm:onDestroyBucket": "Keep"},
        {},
        "vertex-vllm:onDestroyBucket = 'Keep': not one of the choices.\n"
        + choices("Keep", ("if_empty", "keep", "delete"))
        + "    fix: pulumi config set vertex-vllm:onDestroyBucket keep",
    ),
    (
        {"vertex-vllm:grants": "all"},
        {},
        "vertex-vllm:grants = 'all': not one of the choices.\n"
        + choices("all", ("least", "guide"))
        + f"    fix: pulumi config set vertex-vllm:grants {nearest('all', ('least', 'guide'))[0]}",
    ),
    (
        {"vertex-vllm:serviceAccount": "me@example.com"},
        {},
        "vertex-vllm:serviceAccount = 'me@example.com': not the email of a service account.\n"
        "    fix: pulumi config set vertex-vllm:serviceAccount NAME@PROJECT.iam.gserviceaccount.com",
    ),
    (
        {"vertex-vllm:serviceAccount": "serviceAccount:a@my-project.iam.gserviceaccount.com"},
        {},
        "vertex-vllm:serviceAccount = 'serviceAccount:a@my-project.iam.gserviceaccount.com': not the email of a "
        "service account.\n"
        "    fix: pulumi config set vertex-vllm:serviceAccount a@my-project.iam.gserviceaccount.com",
    ),
    (
        {"vertex-vllm:hfToken": None},
        {},
        "vertex-vllm:hfToken: meta-llama/Meta-Llama-3.1-8B-Instruct is gated and "
        "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml takes its weights from Hugging Face: a read token is needed.\n"
        "    fix: pulumi config set --secret vertex-vllm:hfToken, or write weights: gs://BUCKET/PREFIX in "
        "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml",
    ),
    (
        {"vertex-vllm:hfToken": "api_key"},
        {},
        "vertex-vllm:hfToken: not a Hugging Face token: those begin with hf_.\n"
        "    fix: pulumi config set --secret vertex-vllm:hfToken",
    ),
    (
        {"vertex-vllm:hfToken": "hf_a b"},
        {},
        "vertex-vllm:hfToken: not a Hugging Face token: those begin with hf_.\n"
        "    fix: pulumi config set --secret vertex-vllm:hfToken",
    ),
    (
        {"vertex-vllm:telemetry": "true", "vertex-vllm:notificationChannels": '["me@example.com"]'},
        {},
        "vertex-vllm:notificationChannels = 'me@example.com': not the name of a channel, "
        "projects/PROJECT/notificationChannels/ID.\n"
        "    fix: pulumi config set --path 'vertex-vllm:notificationChannels[0]' "
        "projects/PROJECT/notificationChannels/ID (gcloud beta monitoring channels list has the names)",
    ),
    (
        {"vertex-vllm:telemetry": "true", "vertex-vllm:notificationChannels": "mail"},
        {},
        "vertex-vllm:notificationChannels = 'mail': not a list of names.\n"
        "    fix: pulumi config set --path 'vertex-vllm:notificationChannels[0]' "
        "projects/PROJECT/notificationChannels/ID (gcloud beta monitoring channels list has the names)",
    ),
    (
        {"vertex-vllm:notificationChannels": '["projects/p/notificationChannels/1"]'},
        {},
        "vertex-vllm:notificationChannels = '[\"projects/p/notificationChannels/1\"]': without telemetry there are no "
        "alerts.\n    fix: pulumi config set vertex-vllm:telemetry true",
    ),
    (
        {"vertex-vllm:localCloud": "yes"},
        {},
        "vertex-vllm:localCloud = 'yes': not one of the choices.\n"
        + choices("yes", ("false", "true"))
        + f"    fix: pulumi config set vertex-vllm:localCloud {nearest('yes', ('false', 'true'))[0]}",
    ),
    (
        {"vertex-vllm:localCloud": "true"},
        {},
        "vertex-vllm:localCloud = true: this stack is for the local Google Cloud, but LOCAL_CLOUD_URL is not set.\n"
        + ENV,
    ),
    (
        {"vertex-vllm:localCloud": "true"},
        {**LOCAL, "LOCAL_CLOUD_URL": "http://10.1.2.3:8099"},
        "vertex-vllm:localCloud = true: LOCAL_CLOUD_URL=http://10.1.2.3:8099 is not an address of this machine.\n"
        + ENV,
    ),
    (
        {"vertex-vllm:localCloud": "true"},
        {"LOCAL_CLOUD_URL": "http://127.0.0.1:8099"},
        "vertex-vllm:localCloud = true: the local Google Cloud is at http://127.0.0.1:8099, but Vertex AI would be "
        "called at its real address.\n" + ENV,
    ),
    (
        {"vertex-vllm:localCloud": "true"},
        {**LOCAL, "LOCAL_CLOUD_URL": "http://127.0.0.1:9000"},
        "vertex-vllm:localCloud = true: the local Google Cloud is at http://127.0.0.1:9000, but Vertex AI would be "
        "called at http://127.0.0.1:8099/v1beta1/.\n" + ENV,
    ),
    (
        {},
        {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "127.0.0.1:8099"},
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT = '127.0.0.1:8099': not the address of an API.\n"
        "    fix: write it as http://127.0.0.1:8099/v1beta1/",
    ),
    (
        {"gcp:vertexAiCustomEndpoint": "http://127.0.0.1:8099/v1beta1/"},
        {},
        "vertexserving:apiEndpoint: gcp:vertexAiCustomEndpoint sends endpoints to http://127.0.0.1:8099; models and "
        "deployments would go to the real address.\n"
        "    fix: pulumi config set vertexserving:apiEndpoint http://127.0.0.1:8099",
    ),
]


@pytest.mark.parametrize(("changes", "environment", "text"), BAD)
def test_bad_setting(
    root: Path, changes: dict[str, str | None], environment: dict[str, str], text: str
) -> None:
    if changes.get("vertex-vllm:stackFile") == "stacks/link.yaml":
        (root / "stacks/link.yaml").symlink_to(ROOT / LLAMA)
    with pytest.raises(StackError) as caught:
        read(root, changes, environment)
    assert str(caught.value) == f"Pulumi.dev.yaml: {text}"
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("value", ["stacks/" + "x" * 5000 + ".yaml", "stacks/a\0b.yaml", "stacks/loop.yaml"])
def test_stack_file_that_is_no_path(root: Path, value: str) -> None:
    (root / "stacks/loop.yaml").symlink_to(root / "stacks/loop.yaml")
    # A loop of links is no path before Python 3.13, and no file from then on.
    with pytest.raises(StackError, match=r"vertex-vllm:stackFile = .*: (not a path|there is no such file)\."):
        read(root, {"vertex-vllm:stackFile": value})


_KEYS = [f"vertex-vllm:{key}" for key in KEYS] + ["gcp:project", "gcp:region", "gcp:vertexAiCustomEndpoint"]


@given(
    changes=st.dictionaries(
        st.sampled_from(_KEYS) | st.text().map("vertex-vllm:{}".format),
        st.text()
        | st.sampled_from(["true", "{}", "[]", "null", "1e400", "-0", "gs://", "hf_"])
        | _json().map(json.dumps),
        max_size=4,
    )
)
def test_whatever_is_configured_ends_in_settings_or_in_an_instruction(changes: dict[str, str]) -> None:
    try:
        told = repr(read(ROOT, changes))
    except StackError as error:
        told = str(error)
    assert told.strip()


def test_the_table_is_long() -> None:
    assert len({text for _, _, text in BAD}) >= 40


def test_token_in_clear(root: Path) -> None:
    with pytest.raises(StackError) as caught:
        read(root, secret=False)
    assert str(caught.value) == (
        "Pulumi.dev.yaml: vertex-vllm:hfToken: the token stands in clear; revoke it, it has been on a disk and perhaps "
        "in a repository.\n"
        "    fix: pulumi config set --secret vertex-vllm:hfToken, and give it a new token"
    )


def test_every_problem_is_shown_at_once(root: Path) -> None:
    stack_file(root, hardware={"machine_type": "g2-standard-13"})
    with pytest.raises(StackError) as caught:
        read(root, {"gcp:project": None, "vertex-vllm:grants": "x", "vertex-vllm:bukcet": "y"})
    text = str(caught.value)
    assert text.startswith("4 problems in Pulumi.dev.yaml:\n")
    for part in ("vertex-vllm:bukcet", "gcp:project", "vertex-vllm:grants", "g2-standard-13"):
        assert part in text


def test_budget_counts_every_replica(root: Path) -> None:
    stack_file(root, replicas={"max_replica_count": 3})
    with pytest.raises(StackError) as caught:
        read(root, {"vertex-vllm:maxUsdPerHour": "2.5"})
    assert str(caught.value) == (
        "Pulumi.dev.yaml: vertex-vllm:maxUsdPerHour = 2.5: g2-standard-12 in us-central1 costs 1.15 US dollars an hour "
        "a replica, 3.45 for 3 replicas, which is over the budget.\n"
        f"    fix: pulumi config set vertex-vllm:maxUsdPerHour 3.45, or max_replica_count: 2 in {LLAMA}, "
        "or choose a smaller machine"
    )
    assert read(root, {"vertex-vllm:maxUsdPerHour": "3.45"}).usd_per_hour == pytest.approx(3 * 1.15069)


def test_budget_holds_the_management_fee_of_spot(root: Path) -> None:
    """4 x 0.562408 of Compute Engine's spot price alone would be 2.25; with the fee it is 2.85."""
    stack_file(root, hardware={"spot": True}, replicas={"max_replica_count": 4})
    with pytest.raises(StackError, match=r"spot g2-standard-12 .* 0\.71 US dollars .* 2\.85 for 4 replicas"):
        read(root, {"vertex-vllm:maxUsdPerHour": "2.5"})
    assert read(root, {"vertex-vllm:maxUsdPerHour": "2.85"}).usd_per_hour == pytest.approx(
        4 * 0.71247, abs=1e-4
    )


def test_unknown_price_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.recipes import Catalog

    monkeypatch.setattr(Catalog, "price", lambda *_, **__: None)
    settings = read(root, {"vertex-vllm:maxUsdPerHour": "2"})
    assert settings.usd_per_hour is None
    assert (
        "Pulumi.dev.yaml: vertex-vllm:maxUsdPerHour = 2 is not checked: no price is known for "
        "g2-standard-12 in us-central1"
    ) in settings.warnings
    assert read(root).usd_per_hour is None
    assert not [text for text in read(root).warnings if "no price" in text]


def test_defaults(root: Path) -> None:
    settings = read(root)
    assert settings.plan.name == "meta-llama-3.1-8b-instruct.l4x1"
    assert (settings.project, settings.region, settings.stack) == ("my-project", "us-central1", "dev")
    assert (settings.grants, settings.on_destroy_bucket) == ("least", "if_empty")
    assert (settings.bucket, settings.service_account, settings.api_endpoint) == (None, None, None)
    assert settings.labels == {}
    assert settings.warnings == ()


def test_empty_values_mean_not_set(root: Path) -> None:
    # The defaults of Pulumi.yaml, as the engine hands them over.
    empty = dict.fromkeys((f"vertex-vllm:{key}" for key in KEYS if key not in ("stackFile", "hfToken")), "")
    assert read(root, {**empty, "vertex-vllm:labels": "{}", "vertex-vllm:maxUsdPerHour": "0"}).bucket is None


@pytest.mark.parametrize(
    ("value", "mode"), [(None, "warn"), ("", "warn"), ("off", "off"), ("enforce", "enforce")]
)
def test_preflight(root: Path, value: str | None, mode: str) -> None:
    assert read(root, {"vertex-vllm:preflight": value}).preflight == mode


def test_what_preflight_looks_at(root: Path) -> None:
    changes = {"vertex-vllm:maxUsdPerHour": "5", "vertex-vllm:bucket": "mine", "gcp:accessToken": "ya29.x"}
    checked = read(root, changes)
    found = subject(checked)
    assert found.plan is checked.plan
    assert (found.project, found.region, found.pulumi_project, found.stack) == (
        "my-project",
        "us-central1",
        "vertex-vllm",
        "dev",
    )
    assert (found.bucket, found.max_usd_per_hour, found.hf_token) == ("mine", 5.0, TOKEN)
    assert found.login.token == "ya29.x"
    assert found.hf_endpoint == "https://huggingface.co"
    assert not found.hosts.local
    assert not any(secret in repr(checked) + repr(found) for secret in (TOKEN, "ya29.x"))


def test_what_preflight_asks_on_a_local_stack_is_on_this_machine(root: Path) -> None:
    found = subject(read(root, {"vertex-vllm:localCloud": "true"}, LOCAL))
    assert {urlsplit(each).netloc for each in found.hosts.google} == {"127.0.0.1:8099"}
    assert found.hf_endpoint == ""


# Without an engine


def written(root: Path, config: Mapping[str, Any], stack: str = "dev") -> Path:
    """A project of which `Pulumi.<stack>.yaml` has this configuration."""
    (root / "Pulumi.yaml").write_text("name: vertex-vllm\nruntime: python\n")
    (root / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": dict(config)}))
    return root


def fake_pulumi(root: Path, text: str) -> dict[str, str]:
    """An environment whose PATH has one command, `pulumi`."""
    command = root / "bin" / "pulumi"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{text}\n")
    command.chmod(0o755)
    return {"PATH": str(command.parent)}


SECRET = {**GOOD, "vertex-vllm:hfToken": {"secure": "v1:abc"}}


def test_file_is_read_as_the_engine_does(root: Path) -> None:
    config = {
        **GOOD,
        "vertex-vllm:hfToken": {"secure": "v1:abc"},
        "vertex-vllm:labels": {"owner": "me"},
        "vertex-vllm:maxUsdPerHour": 2,
        "vertex-vllm:dedicatedEndpoint": True,
    }
    raw, known = read_file(written(root, config), "dev", {"HF_TOKEN": TOKEN, "PATH": ""})
    assert known
    checked = parse(raw, root)
    assert (checked.stack, checked.pulumi_project) == ("dev", "vertex-vllm")
    assert checked.hf_token == TOKEN
    assert checked.labels == {"owner": "me"}
    assert checked.max_usd_per_hour == 2
    assert checked.plan.endpoint.dedicated


def test_token_comes_from_the_engines_command_first(root: Path) -> None:
    environment = {**fake_pulumi(root, f'echo "$@" > asked; echo {TOKEN}'), "HF_TOKEN": "hf_other"}
    raw, known = read_file(written(root, SECRET), "dev", environment)
    assert known
    assert parse(raw, root).hf_token == TOKEN
    assert (root / "asked").read_text().strip() == (
        "config get vertex-vllm:hfToken --stack dev --non-interactive"
    )


@pytest.mark.parametrize("script", ["exit 1", "echo hf_no; exit 255", ""])
def test_token_that_cannot_be_decrypted_is_not_known(root: Path, script: str) -> None:
    raw, known = read_file(written(root, SECRET), "dev", fake_pulumi(root, script))
    assert not known
    # The settings hold: there is a token, though nobody here knows it.
    assert parse(raw, root).plan.needs_token


def test_no_token_at_all_is_a_wrong_setting(root: Path) -> None:
    config = {key: value for key, value in GOOD.items() if key != "vertex-vllm:hfToken"}
    raw, known = read_file(written(root, config), "dev", {"HF_TOKEN": TOKEN})
    assert known
    with pytest.raises(StackError, match="a read token is needed"):
        parse(raw, root)


def test_stack_that_has_no_file(root: Path) -> None:
    written(root, GOOD, "prod")
    with pytest.raises(StackError) as caught:
        read_file(root, "prd", {})
    assert str(caught.value) == (
        "Pulumi.prd.yaml: there is no such file.\n    choices: prod\n    fix: --stack prod"
    )


@pytest.mark.parametrize("text", ["[]", "config: [1]", "config: x", "a: b: c"])
def test_file_that_is_no_configuration(root: Path, text: str) -> None:
    written(root, GOOD)
    (root / "Pulumi.dev.yaml").write_text(text)
    with pytest.raises(StackError):
        read_file(root, "dev", {})


def test_everything_set(root: Path) -> None:
    settings = read(
        root,
        {
            "gcp:region": "europe-west4",
            "vertex-vllm:bucket": "gs://my-bucket/",
            "vertex-vllm:grants": "guide",
            "vertex-vllm:labels": '{"owner": "me", "größe": "xl"}',
            "vertex-vllm:maxUsdPerHour": "5.5",
            "vertex-vllm:onDestroyBucket": "keep",
            "vertex-vllm:serviceAccount": "a@my-project.iam.gserviceaccount.com",
            "vertex-vllm:localCloud": "true",
            "vertex-vllm:telemetry": "true",
            "vertex-vllm:notificationChannels": '["projects/p/notificationChannels/1"]',
        },
        LOCAL,
    )
    assert settings.telemetry
    assert subject(settings).telemetry
    assert settings.notification_channels == ("projects/p/notificationChannels/1",)
    assert settings.bucket == "my-bucket"
    assert settings.grants == "guide"
    assert settings.labels == {"owner": "me", "größe": "xl"}
    assert settings.on_destroy_bucket == "keep"
    assert settings.service_account == "a@my-project.iam.gserviceaccount.com"
    assert settings.api_endpoint == "http://127.0.0.1:8099"


def test_token_is_neither_needed_nor_passed_on_for_weights_in_a_bucket(root: Path) -> None:
    stack_file(root, weights="gs://weights/llama")
    assert read(root, {"vertex-vllm:hfToken": None}).hf_token is None
    assert read(root).hf_token is None


def test_an_adapter_on_hugging_face_needs_the_token_all_the_same(root: Path) -> None:
    stack_file(root, weights="gs://weights/llama", lora={"sql": "me/adapter"}, vllm={"enable_lora": True})
    assert read(root, {"vertex-vllm:hfToken": None}).hf_token is None
    assert read(root).hf_token == TOKEN


def test_token_is_in_no_representation(root: Path) -> None:
    settings = read(root)
    assert settings.hf_token == TOKEN
    assert TOKEN not in repr(settings)
    raw = RawSettings(pulumi_project="p", stack="s", config=GOOD, secret_keys=frozenset(), environment={})
    assert TOKEN not in repr(raw)


def test_a_real_stack_with_the_local_clouds_environment_warns(root: Path) -> None:
    assert read(root, environment=LOCAL).warnings == (
        "LOCAL_CLOUD_URL is set: stack dev goes to http://127.0.0.1:8099",
    )


def test_stack_file_of_a_local_stack_can_be_replaced(root: Path) -> None:
    other = {**LOCAL, "VERTEX_VLLM_STACK_FILE": "stacks/llama-3.2-1b.l4x1.yaml"}
    replaced = read(root, {"vertex-vllm:localCloud": "true"}, other)
    assert replaced.plan.name == "llama-3.2-1b.l4x1"
    assert replaced.warnings[0] == (
        f"VERTEX_VLLM_STACK_FILE=stacks/llama-3.2-1b.l4x1.yaml replaces {LLAMA} of Pulumi.dev.yaml; "
        "make up without STACK_FILE takes it away"
    )
    settings = read(root, environment={"VERTEX_VLLM_STACK_FILE": "stacks/llama-3.2-1b.l4x1.yaml"})
    assert settings.plan.name == "meta-llama-3.1-8b-instruct.l4x1"
    assert settings.warnings == (
        "VERTEX_VLLM_STACK_FILE is set and ignored: stack dev is not for the local Google Cloud",
    )


def test_replaced_stack_file_that_is_not_there(root: Path) -> None:
    with pytest.raises(StackError) as caught:
        read(
            root,
            {"vertex-vllm:localCloud": "true"},
            {**LOCAL, "VERTEX_VLLM_STACK_FILE": "stacks/llama-3.2.yaml"},
        )
    assert str(caught.value) == (
        "Pulumi.dev.yaml: VERTEX_VLLM_STACK_FILE = 'stacks/llama-3.2.yaml': there is no such file.\n"
        + choices("stacks/llama-3.2.yaml", SHIPPED)
        + "    fix: make up STACK_FILE=stacks/llama-3.2-1b.l4x1.yaml"
    )


def test_one_address_for_both_providers(root: Path) -> None:
    both = {
        "gcp:vertexAiCustomEndpoint": "https://proxy.example.com/v1beta1/",
        "vertexserving:apiEndpoint": "https://proxy.example.com",
    }
    assert read(root, both).api_endpoint == "https://proxy.example.com"


def test_the_project_describes_every_key_and_no_other() -> None:
    described = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert sorted(described) == sorted(KEYS)
    assert all(entry["description"] and "default" in entry for entry in described.values())
    assert described["hfToken"]["secret"] is True


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_shipped_environments_are_complete_but_for_project_and_token(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
    config = {"gcp:project": "my-project"}
    for key, value in document["config"].items():
        config[key] = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
    labels = document["config"]["vertex-vllm:labels"]
    config["vertex-vllm:labels"] = json.dumps(labels)
    config["vertex-vllm:hfToken"] = TOKEN
    settings = parse(
        RawSettings(
            pulumi_project="vertex-vllm",
            stack=stack,
            config=config,
            secret_keys=frozenset({"vertex-vllm:hfToken"}),
            environment=LOCAL if stack == "local" else {},
        ),
        ROOT,
    )
    assert settings.labels["owner"]
    assert settings.usd_per_hour


@pytest.mark.parametrize(
    ("wanted", "of_the_file", "dedicated"), [("true", False, True), ("false", True, False)]
)
def test_an_environment_decides_whether_the_endpoint_is_dedicated(
    root: Path, wanted: str, of_the_file: bool, dedicated: bool
) -> None:
    stack_file(root, endpoint={"dedicated": of_the_file})
    assert read(root).plan.endpoint.dedicated is of_the_file
    assert read(root, {"vertex-vllm:dedicatedEndpoint": wanted}).plan.endpoint.dedicated is dedicated


def test_how_long_a_stack_is_wanted_is_the_stack_files_word(root: Path) -> None:
    labels = json.dumps({"expiry": "2027-03-31", "owner": "me"})
    assert read(root, {"vertex-vllm:labels": labels}).labels["expiry"] == "2027-03-31"
    stack_file(root, expires_after="8h")
    assert read(root).labels == {"expiry": "8h"}
    found = read(root, {"vertex-vllm:labels": labels})
    assert found.labels == {"expiry": "8h", "owner": "me"}
    assert (
        f"expires_after: 8h in {LLAMA} replaces vertex-vllm:labels.expiry 2027-03-31 of Pulumi.dev.yaml"
    ) in found.warnings
    never = json.dumps({"expiry": "never"})
    assert not read(root, {"vertex-vllm:labels": never}).warnings


def test_stopped_is_a_yes_or_a_no(root: Path) -> None:
    assert read(root).stopped is False
    assert read(root, {"vertex-vllm:stopped": "true"}).stopped is True
    with pytest.raises(StackError, match=r"vertex-vllm:stopped = 'yes': not one of the choices"):
        read(root, {"vertex-vllm:stopped": "yes"})
