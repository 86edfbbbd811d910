"""What answers of an unexpected shape become: never a crash, never a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.preflight.google import answers
from infra.preflight.net import Answer, Unread


@pytest.mark.parametrize(
    "read",
    [
        lambda: answers.body(Answer(200, [], {})),
        lambda: answers.body(Answer(200, None, {})),
        lambda: answers.body(Answer(404, {}, {})),
        lambda: answers.objects({"a": {}}, "a"),
        lambda: answers.objects({"a": ["x"]}, "a"),
        lambda: answers.objects({"a": None}, "a"),
        lambda: answers.object_({"a": [1]}, "a"),
        lambda: answers.text({"a": 1}, "a"),
        lambda: answers.texts({"a": "x"}, "a"),
        lambda: answers.texts({"a": [1]}, "a"),
        lambda: answers.whole("many"),
        lambda: answers.whole(1.5),
        lambda: answers.whole(True),
        lambda: answers.whole([]),
    ],
)
def test_other_shapes_are_unread(read: Callable[[], Any]) -> None:
    with pytest.raises(Unread):
        read()


def test_what_json_from_protos_leaves_out() -> None:
    assert answers.objects({}, "a") == []
    assert answers.object_({}, "a") == {}
    assert answers.text({}, "a") == ""
    assert answers.texts({}, "a") == frozenset()
    assert (answers.whole(None), answers.whole("-1"), answers.whole(3)) == (0, -1, 3)


def test_refusals_in_words() -> None:
    assert answers.refusal(Answer(404, None, {})) == "404"
    assert answers.refusal(Answer(403, {"error": {"message": "No.\nNever."}}, {})) == "403 No. Never"
    assert len(answers.refusal(Answer(400, {"error": {"message": "x" * 999}}, {}))) == 220
    bare = {"error": {"details": [{"reason": "SERVICE_DISABLED"}]}}
    assert answers.refusal(Answer(403, bare, {})) == "the API is not enabled in the project"
    odd = {
        "error": {
            "details": ["x", {"reason": "SERVICE_DISABLED", "metadata": {"service": "x.googleapis.com"}}]
        }
    }
    assert answers.refusal(Answer(403, odd, {})) == "x.googleapis.com is not enabled in the project"
    of_storage = {"error": {"errors": [{"reason": "accessNotConfigured"}], "message": "m"}}
    assert answers.disabled(Answer(403, of_storage, {}))
    assert not answers.disabled(Answer(404, bare, {}))
