"""`serve --backend docker` with a real engine, and an image that takes OVMS's command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ovembed.errors import ServerError
from ovembed.launch.engines import Engine
from tests.cli import failure, ovembed
from tests.standin import USER, build_standin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import ModelRepository
    from tests.engine import DockerEngine

pytestmark = pytest.mark.usefixtures("own_servers")

PATIENCE_S = 120
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def image(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tag = build_standin(docker_engine, tmp_path_factory.mktemp("standin"))
    yield tag
    docker_engine("image", "rm", "--force", tag)


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Of the container; another test session may run on the same engine."""
    return f"ovembed-test-{os.getpid()}-{tmp_path.name}"


def command(repository: ModelRepository, name: str, *arguments: str) -> list[str]:
    return ["serve", "-r", str(repository.folder), "--backend", "docker", "--name", name, "--port", "0", *arguments]


def serve(repository: ModelRepository, name: str, *arguments: str) -> str:
    """Detached; its URL."""
    done = ovembed(*command(repository, name, "--detach", *arguments))
    assert done.returncode == 0, done.stderr.decode()
    [server] = json.loads(ovembed("status", "--json").stdout)["servers"]
    assert (server["name"], server["backend"], server["healthy"]) == (name, "docker", True)
    return str(server["url"])


def inspect(engine: DockerEngine, name: str) -> dict[str, Any]:
    [container] = json.loads(engine("container", "inspect", name).stdout)
    return dict(container)


def exists(engine: DockerEngine, name: str) -> bool:
    return engine("container", "inspect", name, check=False).returncode == 0


def test_it_serves_what_it_sees_and_can_change_nothing(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine
) -> None:
    url = serve(tiny_alone, name, "--image", image)
    container = inspect(docker_engine, name)
    assert container["Args"] == ["--config_path", "/models/config_embeddings.json", "--rest_port", "8000"]
    assert [port["HostIp"] for port in container["NetworkSettings"]["Ports"]["8000/tcp"]] == ["127.0.0.1"]
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    for place in ("/models/x", "/x"):
        assert "Read-only file system" in docker_engine("exec", name, "touch", place, check=False).stderr
    assert docker_engine("exec", name, "id", "-u").stdout.strip() == str(USER)
    assert ovembed("health", url, "--deep", "-r", str(tiny_alone.folder)).returncode == 0
    assert b"org/tiny: fp32" in ovembed("logs", name).stdout
    assert b"is stopped" in ovembed("stop", name).stderr
    assert not exists(docker_engine, name)


def test_one_that_was_removed_has_ended_and_its_name_is_free(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine
) -> None:
    serve(tiny_alone, name, "--image", image)
    assert "or choose another --container-name" in failure(
        ovembed(*command(tiny_alone, name, "--image", image, "--detach"))
    )
    docker_engine("rm", "--force", name)
    [server] = json.loads(ovembed("status", "--json").stdout)["servers"]
    assert server["state"] == "ended"
    serve(tiny_alone, name, "--image", image)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_private_files_are_read_by_their_owner_and_a_key_guards_some_of_the_models(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    for path in (keys, *tiny_alone.folder.rglob("*")):
        os.chown(path, 1234, 1234)
        path.chmod(0o700 if path.is_dir() else 0o600)
    url = serve(tiny_alone, name, "--image", image, "--model", "org/tiny", "--api-key-file", str(keys))
    assert docker_engine("exec", name, "id", "-u").stdout.strip() == "1234"
    assert inspect(docker_engine, name)["Args"][1] == "/config/config.json"
    assert "secret" not in docker_engine("container", "inspect", name).stdout
    assert ovembed("health", url, "--model", "org/tiny").returncode == 1
    assert ovembed("health", url, "--model", "org/tiny", "--api-key", "secret").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_is_heard_and_goes_with_us(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine, number: signal.Signals
) -> None:
    arguments = [sys.executable, "-m", "ovembed", *command(tiny_alone, name, "--image", image)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "org/tiny: fp32" not in said or "Stop with Ctrl-C.\n" not in said.partition(f"'{name}' serves")[2]:
            said += process.stderr.readline()
            assert process.poll() is None, said
        assert inspect(docker_engine, name)["HostConfig"]["RestartPolicy"]["Name"] == "no"
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE_S)[1].splitlines()[-1] == "Stopped."
    assert process.returncode == 0
    assert not exists(docker_engine, name)


def test_one_that_ends_at_once_is_told_with_its_last_words(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine
) -> None:
    (tiny_alone.folder / "org" / "tiny" / "tokenizer.json").write_text("{")
    done = ovembed(*command(tiny_alone, name, "--image", image, "--detach"))
    first, *words = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert first == f"ovembed: The server '{name}' has ended before it was ready. Its last words:"
    assert any("tokenizer.json cannot be read" in word for word in words)
    assert not exists(docker_engine, name)


def test_one_that_is_not_ready_in_time_is_stopped_with_code_3(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine
) -> None:
    done = ovembed(*command(tiny_alone, name, "--image", image, "--detach", "--wait", "0"))
    assert done.returncode == 3
    assert b"was not ready after 0 s" in done.stderr
    assert not exists(docker_engine, name)


def test_an_image_that_cannot_be_started_is_told(
    tiny_alone: ModelRepository, name: str, docker_engine: DockerEngine
) -> None:
    line = failure(ovembed(*command(tiny_alone, name, "--image", "ovembed-test-base")))
    assert "docker failed:" in line
    assert "--config_path" in line  # taken for a program, as the image has no entry point
    assert not exists(docker_engine, name)


def test_an_image_that_is_nowhere_is_told_with_how_to_bring_it(
    tiny_alone: ModelRepository, name: str, docker_engine: DockerEngine
) -> None:
    line = failure(ovembed(*command(tiny_alone, name, "--image", "registry.invalid/ovms:2026.3")))
    assert line.startswith("ovembed: The image registry.invalid/ovms:2026.3 is not here and cannot be pulled (")
    assert line.endswith("Bring it (docker load --input FILE), or name another with --image.")


def test_a_name_that_is_taken_is_told(
    tiny_alone: ModelRepository, name: str, image: str, docker_engine: DockerEngine
) -> None:
    docker_engine("create", "--name", name, image)
    line = failure(ovembed(*command(tiny_alone, name, "--image", image)))
    assert f"There is a container '{name}' already. Remove it (docker rm --force {name})" in line
    docker_engine("rm", name)


def test_a_port_that_is_taken_is_told(tiny_alone: ModelRepository, name: str, image: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = failure(ovembed(*command(tiny_alone, name, "--image", image, "--port", port)))
    assert f"Port {port} on 127.0.0.1 is in use" in line


def test_a_daemon_that_is_not_running_is_told(
    tiny_alone: ModelRepository, name: str, image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert "The docker daemon is not running. Start it" in failure(
        ovembed(*command(tiny_alone, name, "--image", image))
    )


def test_without_an_engine_the_other_ways_are_named(
    tiny_alone: ModelRepository, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = failure(ovembed(*command(tiny_alone, name)))
    assert line == "ovembed: docker is not installed. Install it, or use --backend local, which needs none."
    line = failure(ovembed(*command(tiny_alone, name, "--engine", "podman")))
    assert line.startswith("ovembed: podman is not installed")


# Words of engines in states that cannot be brought about here.
NO_PERMISSION = (
    "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    "Get http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version: dial unix /var/run/docker.sock: connect: permission denied"
)
NO_DAEMON = (
    "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the "
    "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory"
)
PORT_TAKEN = (
    "Error response from daemon: driver failed programming external connectivity on endpoint x (1f): Bind for "
    "127.0.0.1:8090 failed: port is already allocated"
)
NAME_TAKEN = 'Error response from daemon: Conflict. The container name "/a" is already in use by container "1f".'
NAME_TAKEN_IN_PODMAN = 'Error: creating container storage: the container name "a" is already in use by 1f.'
OTHER = "Error response from daemon: no space left on device\nSee 'docker run --help'."


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (NO_PERMISSION, "You may not use docker's socket. Join its group"),
        (NO_DAEMON, "The docker daemon is not running"),
        (PORT_TAKEN, r"The port is in use\. Choose another with --port"),
        (NAME_TAKEN, "'a' already"),
        (NAME_TAKEN_IN_PODMAN, "'a' already"),
        (OTHER, r"docker failed: no space left on device\.$"),
    ],
)
def test_what_the_engine_says_becomes_one_line(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "docker"
    (tmp_path / "words").write_text(said)
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/words >&2\nexit 125\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ServerError, match=told) as caught:
        Engine("docker").call("create")
    assert "\n" not in str(caught.value)


def run_ci_example(model: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = ROOT / "examples" / "ci.sh"
    done = subprocess.run([script, model], env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vectors of under-test" in done.stdout
    assert "lines of vectors from http://127.0.0.1:" in done.stdout
    assert json.loads(ovembed("status", "--json").stdout) == {"servers": []}


def test_the_example_of_a_ci_job(tiny_bert: Path) -> None:
    run_ci_example(tiny_bert)


def test_the_example_of_a_ci_job_in_a_container(tiny_bert: Path, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVEMBED_BACKEND", "docker")
    monkeypatch.setenv("OVEMBED_IMAGE", image)
    run_ci_example(tiny_bert)
