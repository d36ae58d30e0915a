"""`serve --detach` and `--backend ovms`, and what `status`, `stop` and `logs` say of it: real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovembed.remote import RemoteEmbedder
from tests.cli import failure, ovembed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import ModelRepository

pytestmark = pytest.mark.usefixtures("own_servers")

PATIENCE_S = 60


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`ovms` on PATH: our server behind OVMS's command line, with a version that the test may change."""
    path = tmp_path / "bin" / "ovms"
    path.parent.mkdir()
    set_version(path, "2026.3")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


def set_version(binary: Path, release: str) -> None:
    program = Path(sys.executable).with_name("ovembed-ovms")
    binary.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && exec echo OpenVINO Model Server {release}.0.72cc06244\n'
        f'exec {program} "$@"\n'
    )
    binary.chmod(0o755)


def serve(repository: ModelRepository, *arguments: str, code: int = 0) -> str:
    """What `ovembed serve` says on stderr."""
    done = ovembed("serve", "--repository", str(repository.folder), *arguments)
    assert (done.returncode, done.stdout) == (code, b""), done
    return done.stderr.decode()


def statuses() -> dict[str, dict[str, object]]:
    shown = json.loads(ovembed("status", "--json").stdout)
    return {server["name"]: server for server in shown["servers"]}


def embeds(url: object) -> bool:
    with RemoteEmbedder(str(url)) as remote:
        return remote.embed(["a cat"]).vectors.shape == (1, 32)


def test_our_server_goes_on_in_the_background_until_it_is_stopped(tiny_alone: ModelRepository, tmp_path: Path) -> None:
    url_file = tmp_path / "url"
    said = serve(tiny_alone, "--detach", "--port", "0", "--name", "mine", "--url-file", str(url_file), "--access-log")
    url = url_file.read_text().strip()
    assert f"'mine' serves org/tiny on {url}." in said
    assert embeds(url)
    [server] = statuses().values()
    assert (server["name"], server["backend"], server["url"]) == ("mine", "local", url)
    assert (server["models"], server["state"], server["healthy"]) == (["org/tiny"], "running", True)
    assert "mine" in ovembed("status").stdout.decode()
    assert b"path=/v1/embeddings" in ovembed("logs", "mine").stdout
    assert len(ovembed("logs", "-n", "1").stdout.splitlines()) == 1
    assert b"'mine' is stopped." in ovembed("stop").stderr
    assert statuses() == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


def test_a_server_that_was_killed_is_told_and_its_name_is_free_again(
    tiny_alone: ModelRepository, own_servers: Path
) -> None:
    serve(tiny_alone, "--detach", "--port", "0", "--name", "mine", "--grace", "600")
    assert json.loads((own_servers / "mine" / "server.json").read_text())["stop_s"] == 605
    assert failure(
        ovembed("serve", "-r", str(tiny_alone.folder), "--detach", "--port", "0", "--name", "mine")
    ).endswith("or choose another --container-name.")
    os.kill(json.loads((own_servers / "mine" / "server.json").read_text())["home"]["pid"], signal.SIGKILL)
    ended = subprocess.run([sys.executable, "-m", "ovembed", "logs", "-f"], capture_output=True, timeout=PATIENCE_S)
    assert b"Serving on" in ended.stdout
    assert statuses()["mine"]["state"] == "ended"
    serve(tiny_alone, "--detach", "--port", "0", "--name", "mine")
    assert statuses()["mine"]["healthy"]
    assert b"'mine' is stopped." in ovembed("stop", "mine").stderr


def test_one_that_ends_at_once_is_told_with_its_last_words(tiny_alone: ModelRepository) -> None:
    (tiny_alone.folder / "org" / "tiny" / "tokenizer.json").write_text("{")
    first, *words = serve(tiny_alone, "--detach", "--port", "0", code=1).splitlines()
    assert first == "ovembed: The server 'local-0' has ended before it was ready. Its last words:"
    assert words[-1].startswith("  | ovembed: ")
    assert "tokenizer.json cannot be read" in words[-1]
    assert statuses() == {}


def test_one_that_is_not_ready_in_time_is_stopped_with_code_3(tiny_alone: ModelRepository) -> None:
    said = serve(tiny_alone, "--detach", "--port", "0", "--wait", "0", code=3)
    assert "was not ready after 0 s (it is loading). Give it more with --wait." in said
    assert statuses() == {}


def test_an_ovms_of_this_machine_serves_the_repository(tiny_alone: ModelRepository, binary: Path) -> None:
    serve(tiny_alone, "--backend", "ovms", "--detach", "--port", "0", "--name", "theirs")
    server = statuses()["theirs"]
    assert (server["backend"], server["healthy"]) == ("ovms", True)
    assert embeds(server["url"])
    assert b"org/tiny: fp32" in ovembed("logs").stdout


def test_it_can_be_given_some_of_the_models_and_a_key(
    repository: ModelRepository, binary: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    serve(
        repository,
        *("--backend", "ovms", "--ovms-binary", str(binary), "--model", "tiny", "--api-key-file", str(keys)),
        *("--detach", "--port", "0"),
    )
    server = statuses()["ovms-0"]
    assert (server["models"], server["healthy"]) == (["tiny"], True)
    with RemoteEmbedder(str(server["url"]), api_key="secret") as remote:
        assert remote.model == "tiny"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_lives_as_long_as_we_do(
    tiny_alone: ModelRepository, binary: Path, number: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-m",
        "ovembed",
        "serve",
        "-r",
        str(tiny_alone.folder),
        "--backend",
        "ovms",
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = read_until(process.stderr, "Stop with Ctrl-C.\n", "'ovms-0' serves")
        assert "org/tiny: fp32" in said
        assert statuses()["ovms-0"]["healthy"]
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE_S)[1].splitlines()[-1] == "Stopped."
    assert process.returncode == 0
    assert statuses() == {}


def read_until(lines: Iterator[str], *words: str) -> str:
    said = ""
    while not all(word in said for word in words):
        line = next(lines, None)
        assert line is not None, said
        said += line
    return said


def test_in_the_foreground_its_end_is_ours(tiny_alone: ModelRepository, binary: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ovembed",
        "serve",
        "-r",
        str(tiny_alone.folder),
        "--backend",
        "ovms",
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        read_until(process.stderr, "'ovms-0' serves")
        assert ovembed("stop").returncode == 0
        assert "ovembed: The server 'ovms-0' has ended." in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1


def test_a_binary_of_the_wrong_release_is_refused_with_what_fits(tiny_alone: ModelRepository, binary: Path) -> None:
    set_version(binary, "2025.3")
    line = serve(tiny_alone, "--backend", "ovms", "--port", "0", code=1)
    assert "(2025.3) does not serve 'org/tiny', which is laid out for 2026.3. Take OVMS 2026.3, or export" in line


def test_a_port_in_use_is_told_before_anything_starts(tiny_alone: ModelRepository, binary: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port} on 127.0.0.1 is in use" in serve(tiny_alone, "--backend", "ovms", "--port", port, code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--image x", "--image is for --backend docker, not for local"),
        ("--backend ovms --engine podman", "--engine is for --backend docker, not for ovms"),
        ("--backend docker --ovms-binary x", "--ovms-binary is for --backend ovms, not for docker"),
        ("--wait 5", "--wait is for --detach"),
        ("--name x", "--container-name is for --detach, or for another --backend"),
        ("--backend ovms --streams 2", "--streams is for our own server: --backend local"),
        ("--backend docker --tls-cert x", "--tls-cert is for our own server"),
    ],
)
def test_options_that_do_not_fit_are_refused(tiny_alone: ModelRepository, arguments: str, said: str) -> None:
    assert said in serve(tiny_alone, *arguments.split(), code=1)


def test_without_a_server_the_commands_say_how_to_start_one() -> None:
    assert b"ovembed serve --detach" in ovembed("status").stderr
    assert json.loads(ovembed("status", "--json").stdout) == {"servers": []}
    for arguments in (("stop",), ("stop", "x"), ("logs",), ("logs", "x")):
        assert "ovembed serve --detach" in failure(ovembed(*arguments))
    assert ovembed("stop", "x", "--all").returncode == 2
