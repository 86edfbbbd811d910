"""What a report says: the verdict, its reasons and their order, the cost, the GPUs, preflight, memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rules.budget import BUDGET
from rules.capacity import DEPLOYMENT
from rules.rule import STACK, Resource

from infra.preflight.finding import Finding, Status
from infra.recipes.costs import costs_of_machines
from infra.report.content import Failure, Memory, Report, Verdict, as_dict, build, read_preflight
from infra.report.gpus import Kind, argument_lines, duration
from infra.report.preview import Preview, Unreadable, read_preview
from infra.report.sections import Text, sections, summary

Json = dict[str, Any]
Made = Callable[..., Preview]
Step = Callable[..., Json]
Fixture = Callable[[str], bytes]
Reported = Callable[[str], Report]

L4 = 1.15069  # us-central1, g2-standard-12; held by tests/recipes/test_prices.py
FORMS = [".json", ".events.json"]


def finding(status: Status, check: str = "quota-gpu", **texts: str) -> Finding:
    return Finding(check=check, status=status, **{"evidence": "1 of 1 is in use.", **texts})


def memory(**changes: Any) -> Memory:
    usual = Memory("stacks/x.yaml", True, False, True, "starts", "there is room.")
    return replace(usual, **changes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("first", None),
        ("same", None),
        ("replicas", None),
        ("container", None),
        ("hardware", None),
        ("spot", None),
        ("several", None),
        ("destroy", None),
        ("preflight", Failure.PREFLIGHT),
        ("budget", Failure.BUDGET),
        ("large", Failure.FIT),
        ("refusal", Failure.PREVIEW),
        ("crash", Failure.PREVIEW),
    ],
)
def test_the_verdict_on_what_the_engine_said(
    name: str, failure: Failure | None, form: str, reported: Reported
) -> None:
    report = reported(name + form)
    assert report.failure is failure
    lost = {"several", "destroy"}  # an address that changes, a model that nothing serves
    ready = Verdict.LOOK if name in lost else Verdict.READY
    assert report.verdict is (Verdict.NOT_READY if failure else ready)
    assert len(report.reasons) == (1 if failure else 0)
    json.dumps(as_dict(report), allow_nan=False)


def test_a_violated_policy_is_known_from_events_only(reported: Reported) -> None:
    events = reported("violation.events.json")
    assert events.failure is Failure.POLICY
    # One reason a policy and text, which names every resource; "preview failed" says nothing more.
    (reason,) = events.reasons
    assert reason.text.startswith("required-labels (")
    assert all(name in reason.text for name in ("vllm-endpoint", "vllm-model", "vllm-artifacts", "owner"))
    digest = reported("violation.json")
    assert digest.failure is Failure.PREVIEW
    assert "PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true pulumi preview --json" in digest.reasons[0].text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "idle", "most"),
    [
        ("first", (0.0, L4), (0.0, L4)),
        ("same", (L4, L4), (L4, L4)),
        ("replicas", (L4, L4), (L4, 3 * L4)),
        ("container", (L4, L4), (L4, L4)),
        ("hardware", (L4, 2.300954), (L4, 2.300954)),
        ("spot", (L4, 0.71247), (L4, 0.71247)),
        ("destroy", (L4, 0.0), (L4, 0.0)),
        ("budget", (L4, None), (L4, None)),
        ("crash", (L4, None), (L4, None)),
    ],
)
def test_costs_before_and_after(
    name: str,
    idle: tuple[float, float | None],
    most: tuple[float, float | None],
    form: str,
    reported: Reported,
) -> None:
    cost = reported(name + form).cost
    for change, (before, after) in ((cost.idle, idle), (cost.at_most, most)):
        assert change.before == pytest.approx(before, abs=1e-4)
        assert change.after == (None if after is None else pytest.approx(after, abs=1e-4))


def test_a_price_that_is_not_known_is_never_zero(made: Made, step: Step) -> None:
    odd = {"machineSpec": {"machineType": "g9-new-1", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}}
    report = build(made(step("update", {}, odd)))
    assert report.cost.at_most.before == pytest.approx(L4)
    assert report.cost.at_most.after is None
    document = as_dict(report)["cost"]["at_most"]
    assert document["after"]["usd_per_hour"] == document["change"]["usd_per_hour"] == "unknown"
    assert "unknown after" in report.cost.at_most.text
    # One unknown deployment makes the sum unknown.
    both = build(made(step("create", None, odd, name="a"), step("create", None, {}, name="b")))
    assert both.cost.at_most.before == 0
    assert both.cost.at_most.after is None


def test_what_is_not_known_before_the_update_costs_something_unknown(made: Made, step: Step) -> None:
    unknown = {"minReplicaCount": "3eeb2bf0-c639-47a8-9e75-3b44932eb421"}
    report = build(made(step("update", {}, unknown)))
    assert report.cost.idle.after is None
    (change,) = report.deployments
    assert "replicas at least 1 → not known yet" in change.text


def test_two_deployments_are_added_up(made: Made, step: Step) -> None:
    report = build(made(step("create", None, {}, name="a"), step("delete", {"maxReplicaCount": 4}, name="b")))
    assert report.cost.at_most.before == pytest.approx(4 * L4)
    assert report.cost.at_most.after == pytest.approx(L4)
    assert report.cost.idle.delta == pytest.approx(0)


def test_what_is_imported_bills_already(made: Made, step: Step) -> None:
    report = build(made(step("import", None, {})))
    assert report.deployments[0].kind is Kind.ADOPTED
    assert report.cost.at_most.delta == 0


def test_nothing_there_and_nothing_to_come_costs_nothing(made: Made) -> None:
    report = build(made())
    assert (report.cost.at_most.before, report.cost.at_most.after) == (0.0, 0.0)
    assert report.verdict is Verdict.READY


def test_stacks_of_before_costs_were_exported_say_the_hour(made: Made) -> None:
    root = {
        "op": "same",
        "urn": "urn:pulumi:dev::vertex-vllm::pulumi:pulumi:Stack::vertex-vllm-dev",
        "oldState": {"outputs": {"hourly_cost_usd": 1.1507}},
    }
    cost = build(made(root)).cost
    assert (cost.at_most.before, cost.at_most.after, cost.idle.after) == (1.1507, 1.1507, None)
    root["oldState"] = {"outputs": {"hourly_cost_usd": "unknown"}}
    assert build(made(root)).cost.at_most.after is None


def test_over_the_budget_also_where_the_program_was_not_asked(made: Made, step: Step) -> None:
    config = {"vertex-vllm:maxUsdPerHour": "2"}
    report = build(made(step("update", {}, {"maxReplicaCount": 2}), config=config))
    assert report.failure is Failure.BUDGET
    assert report.reasons[0].text == (
        "vertex-vllm:maxUsdPerHour = 2.00: all replicas cost 2.30 US dollars an hour."
    )
    assert build(made(step("update", {}, {}), config=config)).failure is None
    assert (
        build(
            made(
                step("update", {}, {"maxReplicaCount": 9}),
                config={**config, "vertex-vllm:maxUsdPerHour": "0"},
            )
        ).failure
        is None
    )


@pytest.mark.parametrize("form", FORMS)
def test_side_by_side_for_how_long_and_for_how_much(form: str, reported: Reported) -> None:
    (change,) = reported("hardware" + form).deployments
    assert change.kind is Kind.REPLACED
    assert change.surge is not None
    assert (change.surge.at_most_s, change.surge.wait_s, change.surge.replicas) == (7200, 1800, 1)
    assert change.surge.usd_per_hour == pytest.approx(2.300954, abs=1e-4)
    assert change.surge.usd == pytest.approx(2 * 2.300954, abs=1e-3)
    assert change.surge.text == (
        "old and new run side by side until the new one serves, 2 h at most (the container's deployment_timeout),"
        " 2.30 USD an hour on top, 4.60 USD at most; one pulumi up waits 30 min of it"
    )
    (scaled,) = reported("replicas" + form).deployments
    assert (scaled.kind, scaled.surge) == (Kind.CHANGED, None)


def test_as_many_new_ones_as_always_run_stand_beside_the_old(made: Made, step: Step) -> None:
    replaces = {"replaceReasons": ["spot"]}
    new = {"spot": True, "minReplicaCount": 2, "maxReplicaCount": 8}
    (change,) = build(made(step("replace", {}, new, **replaces))).deployments
    assert change.surge is not None
    spot = costs_of_machines(
        machine_type="g2-standard-12",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        region="us-central1",
        spot=True,
        min_replicas=2,
        max_replicas=8,
    )
    assert change.surge.usd_per_hour == spot.idle
    assert change.because == ("spot",)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("first", "new: 1 replica of g2-standard-12 with 1 x NVIDIA_L4, on demand, in us-central1"),
        ("replicas", "changes in place, nothing restarts: replicas at most 1 → 3"),
        (
            "container",
            "replaced because of model: on the same hardware, 1 replica of g2-standard-12 with 1 x NVIDIA_L4,"
            " on demand, in us-central1",
        ),
        (
            "hardware",
            "replaced because of machineSpec, model: machine type g2-standard-12 → g2-standard-24;"
            " accelerators a machine 1 → 2",
        ),
        ("spot", "replaced because of spot: capacity on demand → spot"),
        ("several", "replaced because of endpoint, spot: capacity on demand → spot"),
        ("destroy", "gone: 1 replica of g2-standard-12 with 1 x NVIDIA_L4, on demand, in us-central1"),
    ],
)
def test_what_changes_on_the_gpus(name: str, text: str, form: str, reported: Reported) -> None:
    (change,) = reported(name + form).deployments
    assert change.text == text


@pytest.mark.parametrize("form", FORMS)
def test_what_changes_in_the_container(form: str, reported: Reported) -> None:
    (model,) = reported("container" + form).models
    assert (model.kind, model.text) == (Kind.REPLACED, "replaced: --max-num-seqs 256 → 12")
    assert [line for line in model.arguments if line[0] != " "] == [
        "- --max-num-seqs=256",
        "+ --max-num-seqs=12",
    ]
    (model,) = reported("first" + form).models
    assert model.text.startswith("new: us-docker.pkg.dev/vertex-ai/")
    assert model.text.endswith(", vLLM 0.6.2")
    assert as_dict(reported("first" + form))["gpus"]["models"][0]["after"]["vLLM"] == "0.6.2"


def test_the_endpoints_address(reported: Reported) -> None:
    (endpoint,) = reported("several.events.json").endpoints
    assert endpoint.text == "replaced because of name: its address changes; it becomes dedicated"
    assert (
        "The address of vllm-endpoint changes: clients need the new one." in reported("several.json").warnings
    )
    (endpoint,) = reported("violation.json").endpoints
    assert endpoint.text == "changes in place: labels; its address stays"
    assert reported("destroy.json").warnings == ("Nothing serves the model any more after this.",)


def test_arguments_beside_each_other() -> None:
    assert argument_lines(["a", "--x=1", "b"], ["a", "--x=2", "b", "--new"]) == (
        "  a",
        "- --x=1",
        "+ --x=2",
        "  b",
        "+ --new",
    )


def test_secrets_in_arguments_are_not_shown_but_seen_to_change() -> None:
    before = ["--api-key=first", "--hf-token", "one", "--max-num-batched-tokens=5", "--tokenizer=t"]
    after = ["--api-key=second", "--hf-token", "two", "--max-num-batched-tokens=5", "--tokenizer=t"]
    lines = argument_lines(before, after)
    assert lines == (
        "- --api-key=[secret]",
        "+ --api-key=[secret]",
        "  --hf-token",
        "- [secret]",
        "+ [secret]",
        "  --max-num-batched-tokens=5",
        "  --tokenizer=t",
    )


def test_a_long_chat_template_is_cut_and_told_apart() -> None:
    template = "{% for message in messages %}\n" * 50
    old, new = argument_lines([f"--chat-template={template}"], [f"--chat-template={template}x"])
    assert old != new
    assert old.startswith("- --chat-template={% for message in messages %}\\n")
    assert "characters, sha256 " in old
    assert len(old) < 160


def test_environment_variables_by_name_only(made: Made, step: Step) -> None:
    def container(env: Json) -> Json:
        return {"containerSpec": {"imageUri": "i", "args": [], "env": env}}

    old, new = container({"A": "aaa", "B": "bbb", "MODEL_ID": "m"}), container({"B": "ccc", "KEY": "sesame"})
    report = build(made(step("replace", old, new, kind="vertexserving:index:Model", name="m")))
    (model,) = report.models
    assert model.environment == ("KEY is new", "A is gone", "MODEL_ID is gone", "B changes")
    assert not {"sesame", "aaa", "ccc"} & set(json.dumps(as_dict(report)).replace('"', " ").split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (60, "1 min"), (1800, "30 min"), (3600, "1 h"), (5400, "1 h 30 min"), (7199.9, "2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_preflight_beside_a_preview(reported: Reported, fixture: Fixture) -> None:
    preview = reported("first.events.json").preview
    findings = read_preflight(fixture("preflight-checks.json"), "checks")
    report = build(preview, findings)
    assert report.failure is Failure.PREFLIGHT
    assert report.reasons[0].text.startswith("quota-gpu: ")
    assert "\n    fix: " in report.reasons[0].text
    assert len(report.of(Status.FAIL)) == 1
    assert report.of(Status.PASS)
    assert as_dict(report)["preflight"]["counts"]["FAIL"] == 1
    # A skipped check is no pass and no failure.
    skipped = build(preview, [finding(Status.SKIP)])
    assert (skipped.verdict, skipped.title) == (Verdict.READY, "ready to apply; 1 check skipped")
    assert build(preview, [finding(Status.PASS)]).title == "ready to apply"
    assert build(preview, [finding(Status.WARN)]).verdict is Verdict.LOOK
    assert build(preview, ()).findings == ()
    assert build(preview).findings is None


def test_preflight_that_failed_the_preview_is_told_once(reported: Reported, fixture: Fixture) -> None:
    preview = reported("preflight.events.json").preview
    report = build(preview, read_preflight(fixture("preflight-checks.json"), "checks"))
    assert [reason.failure for reason in report.reasons] == [Failure.PREFLIGHT]
    assert "quota-gpu" in report.reasons[0].text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("same", "12 passed, 3 skipped (endpoint, huggingface-repository, image), by the preview itself"),
        ("preflight", "1 check failed, by the preview itself"),
        ("budget", "not asked"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_without_its_file_preflight_is_what_the_preview_said(
    name: str, said: str, form: str, reported: Reported
) -> None:
    assert dict(summary(reported(f"{name}{form}")))["preflight"] == said


def test_warnings_of_preflight_are_told_once(made: Made) -> None:
    said = [
        {"severity": "warning", "message": "warning: preflight: quota-surge: no room.\n    fix: wait\n"},
        {"severity": "warning", "message": "warning: something else\n"},
    ]
    preview = made(diagnostics=said)
    assert build(preview).warnings == ("preflight: quota-surge: no room.\n    fix: wait", "something else")
    checked = build(preview, [finding(Status.WARN, "quota-surge", evidence="no room.", remedy="wait")])
    assert checked.warnings == ("something else", "quota-surge: no room.\n    fix: wait")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{}", "has no findings"),
        ('{"findings": [7]}', "findings[0]: is no object"),
        ('{"findings": [{"check": "a", "status": "OK"}]}', "its status is not one of PASS, FAIL, WARN, SKIP"),
        ('{"findings": [{"status": "PASS"}]}', "has no check"),
        ('{"findings": [', "cut off"),
        ('{"steps": []}', "has no findings.\n    fix: vertex-vllm preflight --stack STACK --json"),
    ],
)
def test_what_is_no_preflight(text: str, said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_preflight(text.encode(), "preflight.json")
    assert str(caught.value).startswith("preflight.json: ")
    assert said in str(caught.value)


def test_tokens_in_preflight_are_taken_out() -> None:
    (found,) = read_preflight(
        b'{"findings": [{"check": "a", "status": "FAIL", "evidence": "hf_AbCdEfGh1234 is wrong"}]}', "x"
    )
    assert found.evidence == "[secret] is wrong"


def test_memory_that_does_not_suffice_fails_unless_the_stack_file_says_otherwise(made: Made) -> None:
    large = memory(starts=False, verdict="does not start", why="too large.")
    assert build(made(), None, large).failure is Failure.FIT
    warned = build(made(), None, replace(large, refuses=False))
    assert (warned.failure, warned.warnings) == (None, ("stacks/x.yaml does not start: too large.",))
    doubtful = build(made(), None, memory(doubtful=True, verdict="may not start", why="close."))
    assert (doubtful.failure, doubtful.verdict) == (None, Verdict.LOOK)
    unknown = build(made(), None, memory(starts=None, verdict="unknown"))
    assert (unknown.failure, unknown.verdict) == (None, Verdict.READY)


def test_a_stack_file_that_is_not_the_previews_is_said_to_be(made: Made) -> None:
    (text,) = build(made(), None, memory(agrees=False)).warnings
    assert "another container than the one in this preview" in text
    assert build(made(), None, memory(agrees=True)).warnings == ()


def test_several_failures_keep_their_order(made: Made, step: Step) -> None:
    config = {"vertex-vllm:maxUsdPerHour": "1"}
    report = build(
        made(
            step("create", None, {}),
            config=config,
            diagnostics=[{"severity": "error", "message": "error: no"}],
        ),
        [finding(Status.FAIL)],
        memory(starts=False),
    )
    assert [reason.failure for reason in report.reasons] == [
        Failure.PREVIEW,
        Failure.FIT,
        Failure.BUDGET,
        Failure.PREFLIGHT,
    ]
    assert report.failure is Failure.PREVIEW
    assert report.title == "not ready: preview failed, does not fit, over budget, preflight failed"


def test_several_problems_in_one_error(made: Made) -> None:
    budget = "Pulumi.dev.yaml: vertex-vllm:maxUsdPerHour = 1: g2 costs 2, which is over the budget."
    two = {
        "severity": "error",
        "message": f"error: 2 problems in Pulumi.dev.yaml:\n{budget}\nx: is no region.",
    }
    assert [each.failure for each in build(made(diagnostics=[two])).reasons] == [
        Failure.PREVIEW,
        Failure.BUDGET,
    ]


def events(*bodies: Json) -> Preview:
    """A stream of these events, which ends as it should."""
    urn = "urn:pulumi:dev::vertex-vllm::vertexserving:index:Model::m"
    first: Json = {"resourcePreEvent": {"metadata": {"op": "same", "urn": urn}}}
    last: Json = {"summaryEvent": {"isPreview": True, "PolicyPacks": {"pack|local|policies": "1.0.0"}}}
    lines = (json.dumps({"sequence": place, **body}) for place, body in enumerate((first, *bodies, last)))
    return read_preview("\n".join(lines).encode(), "events")


def violation(policy: str, level: str, text: str = "what it is for\nwhat is wrong") -> Json:
    return {"policyEvent": {"policyName": policy, "enforcementLevel": level, "message": text}}


def refusal(resource: str, config: Json, machine: str = "g2-standard-12", kind: str = "NVIDIA_L4") -> str:
    """What the policy `budget` says of a resource."""
    props = {
        "location": "us-central1",
        "machineSpec": {"machineType": machine, "acceleratorType": kind, "acceleratorCount": 1},
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
    }
    (text,) = BUDGET.violations(Resource(type=resource, name="x", stack="dev", props=props), config)
    return text


OVER = refusal(DEPLOYMENT, {"maxUsdPerHour": 1})


@pytest.mark.parametrize(
    "text",
    [
        refusal(DEPLOYMENT, {}, "a4x-highgpu-4g", "NVIDIA_GB200"),
        refusal(STACK, {"maxUsdPerHuor": 1}),
    ],
)
def test_what_the_policy_cannot_judge_is_not_over_budget(text: str) -> None:
    report = build(events(violation("budget", "mandatory", f"what it is for\n{text}")))
    assert [(each.failure, each.text) for each in report.reasons] == [(Failure.POLICY, f"budget: {text}")]


def test_policies_by_their_level() -> None:
    failed: Json = {
        "diagnosticEvent": {"severity": "error", "prefix": "error: ", "message": "preview failed"}
    }
    advised = build(events(violation("a", "advisory")))
    assert (advised.failure, advised.warnings) == (None, ("a: what is wrong",))
    over = violation("budget", "mandatory", f"what it is for\n{OVER}")
    budget = build(events(over, failed))
    assert [(each.failure, each.text) for each in budget.reasons] == [(Failure.BUDGET, f"budget: {OVER}")]
    both = build(events(violation("z", "mandatory"), over, failed))
    assert [each.failure for each in both.reasons] == [Failure.BUDGET, Failure.POLICY]
    document = as_dict(both)["policies"]
    assert {each["policy"] for each in document["violations"]} == {"z", "budget"}


def test_a_preview_that_failed_half_way_says_nothing_of_what_it_did_not_reach(made: Made, step: Step) -> None:
    said = [{"severity": "error", "message": "error: no"}]
    bucket = step("create", None, {}, kind="gcp:storage/bucket:Bucket", name="b")
    report = build(made(bucket, diagnostics=said))
    assert not report.planned
    assert dict(summary(report))["GPUs"] == "not known: the preview failed before them"
    assert report.cost.at_most.after is None
    assert build(made(bucket, step("create", None, {}), diagnostics=said)).planned
    assert build(made(bucket)).planned


def test_a_preview_that_ended_before_it_looked_at_the_stack_knows_no_cost(made: Made, step: Step) -> None:
    said = [{"severity": "error", "message": "error: preview canceled"}]
    assert build(made(diagnostics=said)).cost.at_most.before is None
    new = step("create", None, {}, kind="pulumi:pulumi:Stack", name="vertex-vllm-dev")
    assert build(made(new, diagnostics=said)).cost.at_most.before == 0


def test_policies_that_were_not_asked(reported: Reported) -> None:
    # Policies see the stack itself also where the program ends before its resources; that says nothing.
    assert not reported("budget.events.json").policies_asked
    assert not reported("destroy.events.json").policies_asked
    assert reported("first.events.json").policies_asked
    assert as_dict(reported("budget.events.json"))["policies"] is None


def test_json_has_what_a_script_asks_for(reported: Reported) -> None:
    document = as_dict(reported("hardware.events.json"))
    assert (document["project"], document["stack"], document["verdict"]) == (
        "vertex-vllm",
        "local",
        "ready to apply",
    )
    assert document["cost"]["at_most"]["change"]["usd_per_hour"] == pytest.approx(1.1503, abs=1e-3)
    (deployment,) = document["gpus"]["deployments"]
    assert deployment["before"]["machine_type"] == "g2-standard-12"
    assert deployment["after"]["accelerator_count"] == 2
    assert deployment["side_by_side"]["at_most_s"] == 7200
    assert document["resources"] == {"replace": 2, "same": 19}
    assert document["failures"] == []


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("8h", "Expires: 8h after each deployment; then a sweep undeploys it."),
        ("2027-03-31", "Expires: 2027-03-31; then a sweep undeploys it."),
        ("never", ""),
    ],
)
def test_until_when_it_is_wanted(made: Made, step: Step, label: str, said: str) -> None:
    endpoint = step("create", new={"labels": {"expiry": label}}, kind="gcp:vertex/aiEndpoint:AiEndpoint")
    found = build(made(step("create", new={}), endpoint))
    (cost,) = (section for section in sections(found) if section.title == "Cost")
    texts = [block.text for block in cost.blocks if isinstance(block, Text)]
    assert [text for text in texts if text.startswith("Expires")] == ([said] if said else [])
