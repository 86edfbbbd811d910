"""Dashboards of Cloud Monitoring v1: kept as they come, after the checks that refuse what the service would refuse.

Source: google/monitoring/dashboard/v1 in googleapis. Charts and texts are known field by field; other widgets are
refused, so that a mistake in one is never taken for right.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import aborted, invalid, not_found
from infra.local.cloud.projects import Project
from infra.local.cloud.rest import Call

Json = dict[str, Any]
SERVICE = "monitoring.googleapis.com"
COLLECTION = "dashboards"

_QUERY = {
    "prometheusQuery": str,
    "timeSeriesFilter": strict.ANY,
    "timeSeriesFilterRatio": strict.ANY,
    "timeSeriesQueryLanguage": str,
    "unitOverride": str,
    "outputFullDuration": bool,
}
_DATA_SET = {
    "timeSeriesQuery": _QUERY,
    "plotType": str,
    "legendTemplate": str,
    "minAlignmentPeriod": str,
    "targetAxis": str,
}
_AXIS = {"label": str, "scale": str}
_WIDGET = {
    "title": str,
    "id": str,
    "xyChart": {
        "dataSets": [_DATA_SET],
        "timeshiftDuration": str,
        "thresholds": strict.ANY,
        "xAxis": _AXIS,
        "yAxis": _AXIS,
        "y2Axis": _AXIS,
        "chartOptions": {"mode": str},
    },
    "text": {"content": str, "format": str, "style": strict.ANY},
}
_TILE = {"xPos": int, "yPos": int, "width": int, "height": int, "widget": _WIDGET}
DASHBOARD = {
    "name": str,
    "displayName": str,
    "etag": str,
    "labels": {"*": str},
    "gridLayout": {"columns": int, "widgets": [_WIDGET]},
    "mosaicLayout": {"columns": int, "tiles": [_TILE]},
}
_LAYOUTS = ("gridLayout", "mosaicLayout")
_PLOTS = ("LINE", "STACKED_AREA", "STACKED_BAR", "HEATMAP")
_QUERIES = ("prometheusQuery", "timeSeriesFilter", "timeSeriesFilterRatio", "timeSeriesQueryLanguage")
_MAX_COLUMNS = 48


class Dashboards:
    """Handlers of dashboards."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def create(self, call: Call) -> Json:
        """POST a dashboard; its id is made here."""
        project = self._require(call, "create")
        _check(call.body)
        return self._keep(call, f"projects/{project.number}/dashboards/{uuid.uuid4()}")

    def list(self, call: Call) -> Json:
        """GET the dashboards of a project."""
        project = self._require(call, "list")
        size = strict.page_size(call.query, default=1000, maximum=1000)
        prefix = f"projects/{project.number}/dashboards/"
        page = self.cloud.store.list(COLLECTION, prefix, size, call.query.get("pageToken", ""))
        answer: Json = {"dashboards": page.items} if page.items else {}
        return answer | ({"nextPageToken": page.next_page_token} if page.next_page_token else {})

    def get(self, call: Call) -> Json:
        """GET one dashboard."""
        return self._find(call, "get")

    def patch(self, call: Call) -> Json:
        """PATCH one dashboard, which is replaced as a whole; a stale etag is refused."""
        found = self._find(call, "update")
        _check(call.body)
        if call.body.get("etag", found["etag"]) != found["etag"]:
            raise aborted(f"The etag of {found['name']} is not the present one; read it and try again.")
        return self._keep(call, found["name"])

    def delete(self, call: Call) -> Json:
        """DELETE one dashboard."""
        self.cloud.store.delete(COLLECTION, self._find(call, "delete")["name"])
        return {}

    def summary(self) -> Sequence[str]:
        """Display names of all dashboards."""
        return [document["displayName"] for _, document in self.cloud.store.items(COLLECTION)]

    def _require(self, call: Call, verb: str) -> Project:
        resource = f"projects/{call.path['project']}"
        return self.cloud.require(call.principal, f"monitoring.dashboards.{verb}", resource, service=SERVICE)

    def _find(self, call: Call, verb: str) -> Json:
        project = self._require(call, verb)
        name = f"projects/{project.number}/dashboards/{call.path['id']}"
        found = self.cloud.store.get(COLLECTION, name)
        if found is None:
            raise not_found(f"Requested entity was not found: {name}")
        return found

    def _keep(self, call: Call, name: str) -> Json:
        content = {key: value for key, value in call.body.items() if key not in ("etag", "name")}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        document = {**content, "name": name, "etag": digest[:32]}
        if not strict.boolean(call.query, "validateOnly"):
            self.cloud.store.put(COLLECTION, name, document)
        return document


def _check(body: Json) -> None:
    if not body.get("displayName"):
        raise invalid("Field displayName is required.")
    layouts = [name for name in _LAYOUTS if name in body]
    if len(layouts) != 1:
        raise invalid(f"A dashboard has one layout; the local cloud has {' and '.join(_LAYOUTS)}.")
    layout = body[layouts[0]]
    if layouts[0] == "gridLayout":
        widgets = list(layout.get("widgets") or [])
    else:
        widgets = []
        columns = int(layout.get("columns") or 0)
        if not 1 <= columns <= _MAX_COLUMNS:
            raise invalid(f"Field mosaicLayout.columns is {columns}; it must be from 1 to {_MAX_COLUMNS}.")
        taken: dict[tuple[int, int], int] = {}
        for index, tile in enumerate(layout.get("tiles") or []):
            _check_tile(index, tile, columns, taken)
            widgets.append(tile.get("widget") or {})
    for index, widget in enumerate(widgets):
        _check_widget(index, widget)


def _check_tile(index: int, tile: Json, columns: int, taken: dict[tuple[int, int], int]) -> None:
    x, y = int(tile.get("xPos") or 0), int(tile.get("yPos") or 0)
    width, height = int(tile.get("width") or 0), int(tile.get("height") or 0)
    where = f"mosaicLayout.tiles[{index}]"
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > columns:
        raise invalid(f"{where} ({width} by {height} at {x}, {y}) is not within {columns} columns.")
    for cell in ((x + right, y + down) for right in range(width) for down in range(height)):
        if cell in taken:
            raise invalid(f"{where} overlaps tiles[{taken[cell]}].")
        taken[cell] = index


def _check_widget(index: int, widget: Json) -> None:
    chart = widget.get("xyChart")
    if (chart is None) == ("text" not in widget):
        raise invalid(f"Widget {index} has one content; the local cloud has xyChart and text.")
    if chart is None:
        return
    if not chart.get("dataSets"):
        raise invalid(f"The chart of widget {index} has no dataSets.")
    for data in chart["dataSets"]:
        query = data.get("timeSeriesQuery") or {}
        if sum(bool(query.get(name)) for name in _QUERIES) != 1:
            raise invalid(f"The timeSeriesQuery of widget {index} has one of {', '.join(_QUERIES)}.")
        if data.get("plotType", "LINE") not in _PLOTS:
            raise invalid(f"The plotType of widget {index} is one of {', '.join(_PLOTS)}.")
