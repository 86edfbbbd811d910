"""The provider's configuration: settings first, environment second, both with the official plugin's names."""

from __future__ import annotations

import inspect

import pytest

from infra.local.cloud.cli import environment
from infra.local.gcp_plugin.settings import APIS, ATTRIBUTION_LABEL, read_settings
from infra.plugin import ResourceError


def test_the_environment_of_the_local_cloud_sets_every_endpoint() -> None:
    settings = read_settings({}, environment("http://127.0.0.1:8099"))

    assert set(settings.endpoints) == set(APIS)
    assert settings.endpoint("Cloud Storage") == "http://127.0.0.1:8099/storage/v1/"
    assert settings.endpoint("Vertex AI") == "http://127.0.0.1:8099/v1beta1/"
    assert settings.access_token == "local"


def test_settings_win_over_the_environment() -> None:
    environ = {
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT": "http://env/storage/v1/",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "env",
        "GOOGLE_CLOUD_PROJECT": "env-project",
    }
    config = {
        "storageCustomEndpoint": "http://config/storage/v1",
        "accessToken": "config",
        "project": "config-project",
    }

    settings = read_settings(config, environ)

    assert settings.endpoint("Cloud Storage") == "http://config/storage/v1/"
    assert (settings.access_token, settings.project) == ("config", "config-project")
    assert read_settings({}, environ).project == "env-project"


def test_the_settings_are_those_of_the_official_plugin() -> None:
    from pulumi_gcp.config import vars as official_settings

    official = inspect.getsource(official_settings)
    for setting, _ in APIS.values():
        assert f"'{setting}'" in official


def test_an_endpoint_that_is_not_set_is_an_error_that_keeps_away_from_google() -> None:
    with pytest.raises(ResourceError) as error:
        read_settings({}, {}).endpoint("Vertex AI")

    assert str(error.value).startswith(
        "There is no endpoint for Vertex AI: neither the setting gcp:vertexAiCustomEndpoint nor "
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT is set."
    )


@pytest.mark.parametrize(
    ("config", "environ", "problem"),
    [
        (
            {"storageCustomEndpoint": "localhost"},
            {},
            "gcp:storageCustomEndpoint is 'localhost'; it must be a URL",
        ),
        (
            {},
            {"GOOGLE_STORAGE_CUSTOM_ENDPOINT": "x"},
            "GOOGLE_STORAGE_CUSTOM_ENDPOINT is 'x'; it must be a URL",
        ),
        ({"defaultLabels": "{"}, {}, "gcp:defaultLabels is not a JSON object of texts"),
        ({"defaultLabels": "[1]"}, {}, "gcp:defaultLabels is not a JSON object of texts"),
        ({"defaultLabels": '{"a": 1}'}, {}, "gcp:defaultLabels is not a JSON object of texts"),
    ],
)
def test_settings_that_cannot_be_read(config: dict[str, str], environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ResourceError, match=problem):
        read_settings(config, environ)


def test_default_labels() -> None:
    assert read_settings({}, {}).default_labels == ATTRIBUTION_LABEL
    assert read_settings({"addPulumiAttributionLabel": "false"}, {}).default_labels == {}
    assert read_settings({"defaultLabels": '{"a": "1"}'}, {}).default_labels == {
        "a": "1",
        **ATTRIBUTION_LABEL,
    }
