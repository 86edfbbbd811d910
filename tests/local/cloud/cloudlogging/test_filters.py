from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.cloudlogging.filters import compile_filter
from infra.local.cloud.errors import GoogleError

_ENTRY: dict[str, Any] = {
    "logName": "projects/p/logs/aiplatform.googleapis.com%2Fprediction_container",
    "resource": {
        "type": "aiplatform.googleapis.com/Endpoint",
        "labels": {"endpoint_id": "123", "location": "r"},
    },
    "labels": {"k8s-pod/app.kubernetes.io/name": "x", "deployed_model_id": "7"},
    "severity": "ERROR",
    "timestamp": "2026-08-22T10:00:00.500000Z",
    "textPayload": 'torch.cuda.OutOfMemoryError: CUDA out of memory. Tried "2.00 GiB"',
    "jsonPayload": {"message": "hi", "code": 12, "nested": {"ok": True}, "tags": ["a", "b"]},
    "httpRequest": {"requestMethod": "GET"},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  -- only a remark",
        'resource.type="aiplatform.googleapis.com/Endpoint"',
        "resource.type = aiplatform.googleapis.com/Endpoint",
        'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id=123',
        'resource.type="x" OR resource.labels.endpoint_id="123"',
        "resource.labels.endpoint_id=(1 OR 123)",
        'log_id("aiplatform.googleapis.com/prediction_container") AND severity=ERROR',
        'SEARCH("cuda MEMORY")',
        'NOT SEARCH(textPayload, "hi")',
        'SEARCH(jsonPayload.message, "hi") NOT log_id("stderr")',
        "resource.labels.endpoint_id!=(1 AND 2)",
        "severity>=WARNING",
        "severity=error",
        "severity>400",
        "severity!=INFO",
        'timestamp>="2026-08-22T10:00:00Z" timestamp<"2026-08-22T12:00:00+01:00"',
        'timestamp>"2026-08-22"',
        'textPayload:"cuda OUT of memory"',
        'textPayload=~"Out[A-Z]\\\\w+Error"',
        'textPayload:"\\"2.00 GiB\\""',
        "jsonPayload.code=12 jsonPayload.code>=12 jsonPayload.code<12.5",
        "jsonPayload.nested.ok=true",
        "jsonPayload.tags=b",
        "jsonPayload.missing!=1",
        "NOT jsonPayload.missing:*",
        "jsonPayload.nested:*",
        "-severity=INFO",
        "NOT (severity=INFO OR severity=DEBUG)",
        'labels."k8s-pod/app.kubernetes.io/name"="x"',
        "labels.deployed_model_id=7",
        "http_request.request_method=get",
        "memory",
        '"out of memory" error',
        "(severity=ERROR)(resource.labels.location=r)",
        # OR binds tighter than AND.
        "severity=INFO OR severity=ERROR AND resource.labels.location=r",
        'logName:"prediction_container"',
        'logName="projects/p/logs/aiplatform.googleapis.com%2Fprediction_container"',
    ],
)
def test_filters_that_match(text: str) -> None:
    assert compile_filter(text)(_ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        'resource.type="global"',
        "resource.labels.endpoint_id=124",
        "severity>ERROR",
        "severity<ERROR",
        'timestamp<"2026-08-22T10:00:00Z"',
        'textPayload:"nothing"',
        'textPayload!~"CUDA"',
        "jsonPayload.code>12",
        "jsonPayload.code=twelve",
        "jsonPayload.missing:*",
        "jsonPayload.missing=1",
        "NOT severity=ERROR",
        "severity=ERROR AND NOT resource.labels.location=r",
        "severity=ERROR OR severity=INFO resource.labels.location=s",
        "absent-word",
    ],
)
def test_filters_that_do_not(text: str) -> None:
    assert not compile_filter(text)(_ENTRY)


def test_an_entry_without_severity_has_the_default_one() -> None:
    assert compile_filter("severity=DEFAULT")({"textPayload": "x"})
    assert not compile_filter("severity>=INFO")({"textPayload": "x"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("severity>=", "line 1, column 11, token 'end of filter'"),
        ("a=1 AND", "column 8"),
        ("(a=1", "column 5"),
        ("a=1)", "column 4, token ')'"),
        ("a=1\nAND OR b=2", "line 2, column 5, token 'OR b=2'"),
        ('a="unfinished', "column 3"),
        ("severity>=LOUD", "invalid severity 'LOUD'; one of DEFAULT, DEBUG"),
        ("timestamp>yesterday", "invalid timestamp 'yesterday'"),
        ('a=~"("', "invalid regular expression"),
        ("NOT", "column 4"),
        ("=1", "column 1"),
    ],
)
def test_filters_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(GoogleError, match="Unparseable filter") as caught:
        compile_filter(text)
    assert problem in caught.value.message
