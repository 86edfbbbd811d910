"""Writes the JSON schema of stack files, which editors use: ``python -m infra.recipes.schema``.

The schema is made from the types and the catalogue: choices of models, machines, accelerators, metrics and images.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from infra.metrics import METRICS
from infra.recipes.catalog import catalog
from infra.recipes.stackfile import StackFile
from infra.recipes.templates import NO_CHAT, chat_template_names

__all__ = ["PATH", "stack_schema", "text"]

PATH: Final = Path(__file__).resolve().parents[2] / "stacks" / "schema" / "stack.json"


def stack_schema() -> dict[str, Any]:
    """The schema of a stack file, draft 2020-12."""
    schema = StackFile.model_json_schema()
    parts = schema["$defs"]
    books = catalog()
    schema["properties"]["model"]["enum"] = list(books.models())
    schema["properties"]["weights"]["pattern"] = "^(huggingface|gs://.+)$"
    hardware = parts["Hardware"]["properties"]
    hardware["machine_type"]["enum"] = [machine.machine_type for machine in books.machines()]
    hardware["accelerator_type"]["enum"] = [kind.accelerator_type for kind in books.accelerators()]
    parts["AutoscalingMetric"]["properties"]["metric_name"]["enum"] = list(METRICS)
    images = [
        i.uri for i in books.containers() if i.arch != "tpu" and i.vllm_version and i.note != "movable tag"
    ]
    parts["ContainerOptions"]["properties"]["image_uri"]["examples"] = images
    parts["VllmOptions"]["properties"]["chat_template"]["examples"] = [NO_CHAT, *chat_template_names()]
    whole = schema["properties"]["rollout"]
    words = {"enum": parts["Rollout"]["properties"]["strategy"]["enum"]}
    schema["properties"]["rollout"] = {
        "anyOf": [words, {"$ref": whole["$ref"]}],
        "description": whole["description"],
    }
    # The loader fills these in from the catalogue, so an editor must not ask for them.
    schema["required"] = ["model"]
    parts["Hardware"]["required"] = ["machine_type"]
    schema["title"] = "Stack file"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """The schema as it is written to the file."""
    return json.dumps(stack_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the schema; say which file."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text(), encoding="utf-8")
    print(f"wrote {PATH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
