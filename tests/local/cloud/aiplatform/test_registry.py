"""Models, versions, aliases, endpoints: lists with filters, orders, pages and masks; patches and etags."""

from __future__ import annotations

import pytest

from .helpers import FULL, Vertex, model


def names(vertex: Vertex, **query: str) -> list[str]:
    return [each["name"].rpartition("/")[2] for each in vertex.ok("GET", "models", **query).get("models", [])]


@pytest.fixture(scope="module")
def many(shared: Vertex) -> Vertex:
    """Models a..d beside m1 and m2."""
    for each, team in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "")):
        labels = {"team": team} if team else {}
        body = {**model(f"name of {each}"), "labels": labels}
        shared.done("POST", "models:upload", {"modelId": each, "model": body})
    return shared


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("labels.team=x", "a b"),
        ('labels.team="y"', "c"),
        ("labels.team:*", "a b c"),
        ("labels:team", "a b c"),
        ('labels."team"="y"', "c"),
        ("labels.team=x AND model=a", "a"),
        ("labels.team=x model!=a", "b"),
        ("model=a OR model=d", "a d"),
        ("NOT labels.team:* AND (model=d OR model=a)", "d"),
        ('-labels:team display_name="name of d"', "d"),
        ('displayName="name of c"', "c"),
        ('display_name!="name of c" labels:team', "a b"),
        ("model=nothing", ""),
    ],
)
def test_filters(many: Vertex, query: str, found: str) -> None:
    assert sorted(names(many, filter=query)) == found.split()


def test_orders_and_pages(many: Vertex) -> None:
    assert names(many, orderBy="display_name desc", filter="labels:team") == ["c", "b", "a"]
    assert names(many, orderBy="displayName", filter="labels:team") == ["a", "b", "c"]
    newest = names(many)
    assert newest[0] == "d"
    pages, token = [], ""
    while True:
        answer = many.ok("GET", "models", pageSize="2", pageToken=token)
        pages.append([each["name"].rpartition("/")[2] for each in answer["models"]])
        token = answer.get("nextPageToken", "")
        if not token:
            break
    assert [len(each) for each in pages] == [2, 2, 2]
    assert [name for page in pages for name in page] == newest


def test_read_masks(many: Vertex) -> None:
    (found,) = many.ok("GET", "models", filter="model=a", readMask="name,containerSpec.imageUri,labels.team")[
        "models"
    ]
    assert set(found) == {"name", "containerSpec", "labels"}
    assert set(found["containerSpec"]) == {"imageUri"}


def test_partial_answers(many: Vertex) -> None:
    answer = many.ok("GET", "models", filter="model=a", fields="models/displayName", prettyPrint="false")
    assert answer == {"models": [{"displayName": "name of a"}]}


def test_a_models_answer(vertex: Vertex) -> None:
    vertex.upload()
    found = vertex.ok("GET", "models/m1")
    assert found["name"] == f"{FULL}/models/m1"
    assert found["containerSpec"]["env"] == [{"name": "MODEL_ID", "value": "x"}]
    assert found["containerSpec"]["sharedMemorySizeMb"] == "16384"
    assert found["containerSpec"]["deploymentTimeout"] == "7200s"
    assert found["supportedDeploymentResourcesTypes"] == ["DEDICATED_RESOURCES"]
    assert (found["versionId"], found["versionAliases"]) == ("1", ["default"])
    assert found["etag"].startswith("AMEw9y")


def test_versions(vertex: Vertex) -> None:
    vertex.upload()
    body = {"parentModel": f"{FULL}/models/m1", "model": {**model("v2"), "versionAliases": ["golden"]}}
    answer = vertex.done("POST", "models:upload", body)
    assert (answer["model"], answer["modelVersionId"]) == (f"{FULL}/models/m1", "2")
    assert vertex.ok("GET", "models/m1")["versionId"] == "1"
    assert vertex.ok("GET", "models/m1@golden")["name"] == f"{FULL}/models/m1@2"
    listed = vertex.ok("GET", "models/m1:listVersions")["models"]
    assert [each["name"].rpartition("@")[2] for each in listed] == ["2", "1"]
    merged = vertex.ok(
        "POST", "models/m1@2:mergeVersionAliases", {"versionAliases": ["default", "-golden", "new-one"]}
    )
    assert merged["versionAliases"] == ["default", "new-one"]
    assert vertex.ok("GET", "models/m1")["versionId"] == "2"
    vertex.done("DELETE", "models/m1@1:deleteVersion")
    assert [each["versionId"] for each in vertex.ok("GET", "models/m1:listVersions")["models"]] == ["2"]
    vertex.done("POST", "models:upload", {"parentModel": f"{FULL}/models/m1", "model": model()})
    assert sorted(each["versionId"] for each in vertex.ok("GET", "models/m1:listVersions")["models"]) == [
        "2",
        "3",
    ]


def test_a_version_that_is_deployed_stays(vertex: Vertex) -> None:
    vertex.served()
    vertex.done("POST", "models:upload", {"parentModel": f"{FULL}/models/m1", "model": model()})
    vertex.ok("POST", "models/m1@2:mergeVersionAliases", {"versionAliases": ["default"]})
    answer = vertex.call("DELETE", "models/m1@1:deleteVersion").json()["error"]
    assert "Please undeploy the model before retry" in answer["message"]


def test_patches_of_a_model(vertex: Vertex) -> None:
    vertex.upload()
    etag = vertex.ok("GET", "models/m1")["etag"]
    body = {"displayName": "new", "labels": {"a": "b"}, "etag": etag}
    changed = vertex.ok("PATCH", "models/m1", body, updateMask="display_name,labels")
    assert (changed["displayName"], changed["labels"]) == ("new", {"a": "b"})
    assert changed["etag"] != etag
    stale = vertex.call("PATCH", "models/m1", body, updateMask="displayName")
    assert (stale.status_code, stale.json()["error"]["status"]) == (409, "ABORTED")
    version = vertex.ok(
        "PATCH", "models/m1@1", {"versionDescription": "first"}, updateMask="versionDescription"
    )
    assert version["versionDescription"] == "first"
    mixed = vertex.call("PATCH", "models/m1@1", {"displayName": "x"}, updateMask="displayName")
    assert mixed.json()["error"]["status"] == "FAILED_PRECONDITION"


def test_patches_of_an_endpoint(vertex: Vertex) -> None:
    vertex.endpoint(labels={"a": "b", "c": "d"})
    one = vertex.ok("PATCH", "endpoints/ep1", {"labels": {"a": "z"}}, updateMask="labels.a")
    assert one["labels"] == {"a": "z", "c": "d"}
    none = vertex.ok("PATCH", "endpoints/ep1", {"description": "text"}, updateMask="labels,description")
    assert "labels" not in none
    assert none["description"] == "text"
    both = vertex.ok(
        "PATCH", "/v1beta1/" + FULL + "/endpoints/ep1", {"displayName": "n"}, updateMask="display_name"
    )
    assert both["displayName"] == "n"


def test_locations(vertex: Vertex) -> None:
    listed = vertex.ok("GET", "/v1/projects/local-project/locations")["locations"]
    regions = [each["locationId"] for each in listed]
    assert {"us-central1", "europe-west4"} <= set(regions)
    one = vertex.ok("GET", "/v1beta1/projects/local-project/locations/us-central1")
    assert one["name"] == "projects/123456789012/locations/us-central1"
    page = vertex.ok("GET", "/ui/projects/local-project/locations", pageSize="1")
    again = vertex.ok(
        "GET", "/ui/projects/local-project/locations", pageSize="1", pageToken=page["nextPageToken"]
    )
    assert [page["locations"][0]["locationId"], again["locations"][0]["locationId"]] == sorted(regions)[:2]
