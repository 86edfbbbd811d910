"""Telemetry through the real engine: on by one key, nothing changes after, gone with the stack or with the key."""

from __future__ import annotations

import json

from infra.local.stack.report import billable
from tests.engine.support import EngineStack

CHANNEL = "projects/local-project/notificationChannels/1"


def test_telemetry_comes_stays_and_goes(stack: EngineStack) -> None:
    stack.configure(telemetry=True, notificationChannels=[CHANNEL])
    stack.change_stack_file({"vllm": {"disable_log_stats": False}})
    stack.up("--policy-pack", "policies")
    outputs, state = stack.outputs(), stack.cloud.admin.state()
    assert state["dashboards"] == ["vLLM: Meta-Llama-3.1-8B-Instruct (local)"]
    assert len(state["alert policies"]) == 3

    found = stack.cloud.http.get("/v1/projects/local-project/dashboards").json()["dashboards"]
    (shown,) = found
    assert outputs["dashboard"].endswith(f"/{shown['name'].rpartition('/')[2]}?project=local-project")
    endpoint = outputs["endpoint"].rpartition("/")[2]
    policies = stack.cloud.http.get("/v3/projects/local-project/alertPolicies").json()["alertPolicies"]
    for text in (json.dumps(shown), *(json.dumps(policy) for policy in policies)):
        assert f'endpoint_id=\\"{endpoint}\\"' in text
    assert {tuple(policy["notificationChannels"]) for policy in policies} == {(CHANNEL,)}

    assert stack.preview("--expect-no-changes").has("unchanged")
    stack.refresh("--expect-no-changes")

    stack.configure(notificationChannels=None)
    assert stack.up().has("3 updated")

    stack.configure(telemetry=None)
    # The component, the dashboard, three policies, and the mark that the API is on, which it stays.
    assert stack.up().has("6 deleted")
    assert not stack.cloud.admin.state()["dashboards"]
    assert not stack.cloud.admin.state()["alert policies"]

    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
