"""LoRA adapters from beside the stack file: uploaded, asked for, changed without a new deployment, removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.engine.steps import ROOT
from infra.local.stack.report import billable
from infra.recipes.adapters import StagedAdapter
from tests.adapters import layer, write_adapter
from tests.engine.support import EngineStack

OBJECT = "gcp:storage/bucketObject:BucketObject"


@pytest.fixture
def adapter(stack: EngineStack) -> Path:
    """An adapter beside the stack file, which names it."""
    folder = write_adapter(stack.folder / "stacks" / "adapters" / "sql", more=("optimizer.pt",))
    stack.change_stack_file({"lora": {"sql": "./adapters/sql"}})
    return folder


def ask(stack: EngineStack, outputs: dict[str, Any], lora_id: str) -> tuple[int, str]:
    body = {"instances": [{"prompt": "Rows?", "max_tokens": 60, "lora_id": lora_id}]}
    answer = stack.cloud.http.post(outputs["predict_url"], json=body)
    return answer.status_code, answer.text


def objects(stack: EngineStack, bucket: str) -> dict[str, int]:
    found = stack.cloud.http.get(f"/storage/v1/b/{bucket}/o").raise_for_status().json()
    return {each["name"]: int(each["size"]) for each in found.get("items", [])}


def test_an_adapter_lives_with_its_stack(stack: EngineStack, adapter: Path) -> None:
    first_digest = StagedAdapter(
        "sql", adapter, ("adapter_config.json", "adapter_model.safetensors"), 0
    ).digest()
    preview = stack.preview("--diff")
    assert preview.has(f"models/lora/sql/{first_digest}/adapter_config.json", "adapter_model.safetensors")
    stack.up("--policy-pack", "policies")
    first = stack.outputs()
    at = f"gs://{first['bucket']}/models/lora/sql/{first_digest}"
    assert first["lora"] == {"sql": at}
    assert objects(stack, first["bucket"]) == {
        f"models/lora/sql/{first_digest}/{name}": (adapter / name).stat().st_size
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    status, text = ask(stack, first, first["lora"]["sql"])
    assert status == 200, text
    assert f"The LoRA adapter {at} (rank 8) was loaded" in text
    assert "No adapter found" in ask(stack, first, f"{at}0")[1]
    stack.preview("--expect-no-changes")
    stack.refresh("--expect-no-changes")

    # Other content: two objects come, two go; nothing else changes, and the deployment least of all.
    write_adapter(adapter, layer(rank=16), r=16)
    changed = stack.up()
    assert changed.has("+ 2 created", "- 2 deleted")
    assert not changed.has("replaced")
    second = stack.outputs()
    assert second["lora"]["sql"] != at
    assert {name for name in first if first[name] != second[name]} == {"lora"}
    assert "(rank 16)" in ask(stack, second, second["lora"]["sql"])[1]
    assert len(objects(stack, second["bucket"])) == 2
    # Replicas that have loaded the old one go on with it.
    assert "(rank 8)" in ask(stack, second, at)[1]

    # Back to the earlier content, and one more.
    write_adapter(adapter)
    write_adapter(adapter.parent / "chat", lora_alpha=32)
    stack.change_stack_file({"lora": {"sql": "./adapters/sql", "chat": "./adapters/chat"}})
    assert stack.up().has("+ 4 created", "- 2 deleted")
    third = stack.outputs()
    assert third["lora"]["sql"] == at
    assert third["deployed_model_id"] == first["deployed_model_id"]

    # A destroy needs no file of them, and no adapter keeps the bucket.
    for path in adapter.iterdir():
        path.unlink()
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
    assert stack.resources() == []


def test_an_adapter_that_cannot_be_is_refused_before_anything_is_made(
    stack: EngineStack, adapter: Path
) -> None:
    write_adapter(adapter, layer(rank=64), r=64)
    refused = stack.preview(ok=False)
    assert refused.has(
        "lora.sql = './adapters/sql': its rank is 64, and the container takes at most 16 (--max-lora-rank).",
        'fix: in vllm.extra_args write - "--max-lora-rank=64"',
    )
    assert "Traceback" not in refused.output
    stack.change_stack_file({"vllm": {"extra_args": ["--max-lora-rank=64"], "max_num_seqs": 100}})
    assert stack.preview().has("adapter_model.safetensors")


def test_adapters_and_tools_of_one_stack(stack: EngineStack, adapter: Path) -> None:
    """On an image whose vLLM has a parser: the adapter answers, and a tool is called and its result answered."""
    image = (
        "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20250506_0916_RC01"
    )
    stack.change_stack_file({"vllm": {"tool_calling": True}})
    refused = stack.preview(ok=False)
    assert refused.has("0.6.2, has no tool call parser llama3_json or vertex-llama-3", "image_uri: ")
    stack.change_stack_file({"container": {"image_uri": image}})
    stack.up()
    outputs = stack.outputs()
    assert "(rank 8)" in ask(stack, outputs, outputs["lora"]["sql"])[1]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "openai_tools.py")],
        env={**os.environ, "BASE_URL": outputs["openai_base_url"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("> get_weather({")
    assert "4 degrees, rain" in done.stdout


def test_bytes_that_somebody_changed_are_put_right_and_nothing_rolls(
    stack: EngineStack, adapter: Path
) -> None:
    stack.up()
    before = stack.outputs()
    bucket, name = before["bucket"], f"{before['lora']['sql'].partition('/models/')[2]}/adapter_config.json"
    query = {"uploadType": "media", "name": f"models/{name}"}

    def spoil(kind: str) -> None:
        stack.cloud.http.post(
            f"/upload/storage/v1/b/{bucket}/o", params=query, content=b"{}", headers={"content-type": kind}
        ).raise_for_status()

    spoil("application/json")
    assert stack.refresh().has("~ 1 updated")
    assert stack.up().has("~ 1 updated")
    spoil("text/plain")  # which makes it a replacement, and that of nothing that depends on it
    stack.refresh()
    assert stack.up().has("+-1 replaced")
    live = stack.cloud.http.get(f"/storage/v1/b/{bucket}/o/models%2F{name.replace('/', '%2F')}?alt=media")
    assert json.loads(live.content)["r"] == 8
    assert stack.outputs() == before


def test_objects_of_others_keep_the_bucket(stack: EngineStack, adapter: Path) -> None:
    stack.up()
    bucket = stack.outputs()["bucket"]
    query = {"uploadType": "media", "name": "weights"}
    stack.cloud.http.post(f"/upload/storage/v1/b/{bucket}/o", params=query, content=b"1").raise_for_status()
    assert stack.destroy().has(bucket)
    assert objects(stack, bucket) == {"weights": 1}
    assert stack.resources(OBJECT) == []
