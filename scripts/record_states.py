"""Records what this version's `pulumi up` leaves in the state: tests/engine/states, which later versions must preview.

    .venv/bin/python scripts/record_states.py 2027-01-31    # after make setup

Run it at each release, under its name or date, and never again for that one: what is recorded is what users have.
Each is deployed to a local cloud of its own, with the file backend and the passphrase `local`; the only token in it is
the local cloud's, encrypted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infra.local.cloud.testing import cloud_in_thread
from infra.local.engine.environment import PYTHON
from infra.local.engine.pulumi import installed_engine
from infra.local.gcp_plugin.install import install
from tests.engine.recorded import STATES, VARIANTS, apply
from tests.engine.support import EngineStack, copy_project


def main(version: str) -> None:
    """Record every variant under a version's name."""
    engine = installed_engine()
    if not engine:
        sys.exit("There is no Pulumi engine; make setup installs it.")
    folder = STATES / version
    if folder.exists():
        sys.exit(f"{folder} is there already: a version is recorded once.")
    folder.mkdir(parents=True)
    for name, variant in VARIANTS.items():
        with tempfile.TemporaryDirectory() as temporary, cloud_in_thread() as cloud:
            home = Path(temporary) / "home"
            home.mkdir()
            install(home, PYTHON)
            stack = EngineStack(engine, copy_project(Path(temporary) / "project"), home, cloud)
            apply(stack, variant)
            stack.up()
            exported = Path(temporary) / "state.json"
            stack("stack", "export", "--file", str(exported))
            # On one line, without the outputs of the stack (they are long, and no resource's) and without the lines of
            # code that made a resource, which have the paths of the machine.
            document = json.loads(exported.read_text())
            for resource in document["deployment"]["resources"]:
                for key in ("sourcePosition", "stackTrace"):
                    resource.pop(key, None)
                if resource["type"] == "pulumi:pulumi:Stack":
                    resource.pop("outputs", None)
            (folder / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
            print(f"recorded {version}/{name}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(sys.argv[1])
