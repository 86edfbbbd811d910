"""From command and args to the program: what runs, and how a container without a program fails."""

from __future__ import annotations

import pytest

from infra.local.container import ContainerRequest
from infra.local.container.launch import Launch, LaunchFailed, expand, plan_launch

FORK = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
UPSTREAM = "docker.io/vllm/vllm-openai:v0.9.2"
API = ("python", "-m", "vllm.entrypoints.api_server")


def _plan(*args: str, command: tuple[str, ...] = (), image: str = FORK, **env: str) -> Launch:
    return plan_launch(ContainerRequest(image, command=command, args=args, env=env))


@pytest.mark.parametrize(
    ("command", "args", "server"),
    [
        ((), (*API, "--x=1"), "api_server"),
        (API, ("--x=1",), "api_server"),
        ((), ("python3", "-u", "-m", "vllm.entrypoints.openai.api_server", "--x=1"), "openai"),
        ((), ("/usr/bin/python3.10", "-m", "vllm.entrypoints.api_server", "--x=1"), "api_server"),
        ((), ("/vllm-workspace/ray_launcher.sh", *API, "--x=1"), "api_server"),
        ((), ("bash", "-c", "exec python -m vllm.entrypoints.api_server --x=1"), "api_server"),
        ((), ("env", "A=b", *API, "--x=1"), "api_server"),
        ((), ("vllm", "serve", "--x=1"), "openai"),
    ],
)
def test_every_way_to_name_a_server(command: tuple[str, ...], args: tuple[str, ...], server: str) -> None:
    launch = _plan(*args, command=command)
    assert (launch.server, launch.arguments) == (server, ("--x=1",))


def test_vllm_serve_takes_the_model_as_its_first_word() -> None:
    launch = _plan("vllm", "serve", "a/b", "--x=1")
    assert (launch.model_tag, launch.program) == ("a/b", "vllm serve")


def test_the_upstream_image_has_an_entry_point() -> None:
    launch = _plan("--model=a/b", image=UPSTREAM)
    assert (launch.server, launch.arguments, launch.fork) == ("openai", ("--model=a/b",), False)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "no command specified"),
        (("--model=m", "--port=8080"), 'exec: "--model=m": executable file not found in $PATH'),
        (("--model=a/b",), 'exec: "--model=a/b": stat --model=a/b: no such file or directory'),
        (
            ("vllm.entrypoints.api_server",),
            'exec: "vllm.entrypoints.api_server": executable file not found in $PATH',
        ),
        (("python", "-m", "vllm.entrypoints.apiserver"), "No module named vllm.entrypoints.apiserver"),
        (("python", "serve.py"), "can't open file 'serve.py': [Errno 2] No such file or directory"),
        (("python",), "names no module"),
        (("python", "-m"), "Argument expected for the -m option"),
        (("vllm", "run"), "invalid choice: 'run'"),
        (("bash", "start.sh"), "bash: start.sh: No such file or directory"),
    ],
)
def test_what_cannot_run_fails_as_the_runtime_says(args: tuple[str, ...], text: str) -> None:
    with pytest.raises(LaunchFailed) as failed:
        _plan(*args)
    assert text in "\n".join(failed.value.lines)


def test_variables_are_expanded_as_kubernetes_does() -> None:
    env = {"MODEL_ID": "a/b"}
    assert expand("--model=$(MODEL_ID)", env) == "--model=a/b"
    assert expand("$(OTHER) $$(MODEL_ID) $MODEL_ID", env) == "$(OTHER) $(MODEL_ID) $MODEL_ID"
    assert _plan(*API, "--model=$(MODEL_ID)", MODEL_ID="a/b").arguments == ("--model=a/b",)
