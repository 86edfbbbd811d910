from __future__ import annotations

from pathlib import Path

from infra.local.cloud.quotas import Capacity, QuotaDefinition, Quotas
from infra.local.cloud.store import Store
from infra.local.cloud.testing import LocalCloud

_L4 = "CustomModelServingL4GPUsPerProjectPerRegion"
_INFOS = "/v1/projects/local-project/locations/global/services/aiplatform.googleapis.com/quotaInfos"
_METRICS = "/v1beta1/projects/local-project/services/aiplatform.googleapis.com/consumerQuotaMetrics"


def _by_region(info: dict) -> dict[str, str]:  # type: ignore[type-arg]
    return {item["dimensions"]["region"]: item["details"]["value"] for item in info["dimensionsInfos"]}


def test_cloud_quotas_and_service_usage_show_the_same_limits(cloud: LocalCloud) -> None:
    info = cloud.http.get(f"{_INFOS}/{_L4}").json()
    assert info["name"].startswith("projects/123456789012/locations/global/services/")
    assert info["metric"] == "aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus"
    assert info["dimensions"] == ["region"]
    assert all(
        item["applicableLocations"] == [item["dimensions"]["region"]] for item in info["dimensionsInfos"]
    )
    assert _by_region(info)["us-central1"] == "28"

    metrics = {metric["metric"]: metric for metric in cloud.http.get(_METRICS).json()["metrics"]}
    limit = metrics[info["metric"]]["consumerQuotaLimits"][0]
    assert limit["unit"] == "1/{project}/{region}"
    buckets = {
        bucket["dimensions"]["region"]: bucket for bucket in limit["quotaBuckets"] if "dimensions" in bucket
    }
    assert {region: bucket["effectiveLimit"] for region, bucket in buckets.items()} == _by_region(info)
    one = cloud.http.get(f"/v1beta1/{metrics[info['metric']]['name']}").json()
    assert one == metrics[info["metric"]]
    assert cloud.http.get(f"/v1beta1/{limit['name']}").json() == limit


def test_an_administrator_overrides_a_limit_and_takes_it_back(cloud: LocalCloud) -> None:
    cloud.admin.quota(_L4, "us-central1", 1)
    cloud.admin.quota(_L4, "africa-south1", 2)
    regions = _by_region(cloud.http.get(f"{_INFOS}/{_L4}").json())
    assert (regions["us-central1"], regions["africa-south1"]) == ("1", "2")
    cloud.admin.quota(_L4, "us-central1", None)
    assert _by_region(cloud.http.get(f"{_INFOS}/{_L4}").json())["us-central1"] == "28"
    assert cloud.admin.call("GET", "quotas") == {_L4: {"africa-south1": 2}}


def test_lists_are_paged_and_unknown_names_are_refused(cloud: LocalCloud) -> None:
    everything = [info["quotaId"] for info in cloud.http.get(_INFOS).json()["quotaInfos"]]
    assert everything == sorted(everything)
    found: list[str] = []
    token = ""
    while True:
        page = cloud.http.get(_INFOS, params={"pageSize": "7", "pageToken": token}).json()
        found += [info["quotaId"] for info in page["quotaInfos"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == everything
    assert cloud.http.get(f"{_INFOS}/Nothing").status_code == 404
    assert cloud.http.get(f"{_METRICS}/nothing").status_code == 404
    assert cloud.http.get(f"{_INFOS}?pageSize=x").status_code == 400
    assert cloud.http.get(_INFOS.replace("aiplatform.", "compute.")).json() == {}


def test_what_would_exceed(tmp_path: Path) -> None:
    quotas = Quotas(
        Store(tmp_path),
        lambda: [
            QuotaDefinition("Q", "m/q", "q", "u", {"r": 4}),
            QuotaDefinition("C", "m/c", "c", "u", {"r": 8}),
        ],
    )
    quotas.usage_source = lambda _project, quota, _region: {"Q": 3, "C": 0}[quota]
    assert quotas.exceeded("1", "r", {"Q": 1, "C": 8}) == []
    assert quotas.exceeded("1", "r", {"Q": 2, "C": 9}) == ["Q", "C"]
    assert quotas.exceeded("1", "elsewhere", {"Q": 1, "C": 0}) == ["Q"]


def test_stock(tmp_path: Path, cloud: LocalCloud) -> None:
    capacity = Capacity(Store(tmp_path))
    assert capacity.take("r", "g2", "L4", 100)
    capacity.set("r", "L4", 2)
    capacity.set("r", "g2", 1)
    assert not capacity.take("r", "g2", "L4", 2)
    assert capacity.take("r", "g2", "L4", 1)
    assert capacity.all() == {"r": {"L4": 1, "g2": 0}}
    capacity.give_back("r", "g2", "L4", 1)
    assert capacity.all() == {"r": {"L4": 2, "g2": 1}}
    capacity.set("r", "g2", None)
    assert capacity.take("r", "g2", "L4", 2)
    cloud.admin.stock("us-central1", "g2-standard-12", 0)
    assert cloud.admin.call("GET", "capacity") == {"us-central1": {"g2-standard-12": 0}}
