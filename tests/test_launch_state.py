"""Servers that run on their own: they are found again, and never taken for another process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import psutil
import pytest

from ovembed.errors import InputError, ServerError
from ovembed.launch import process
from ovembed.launch.container import Container
from ovembed.launch.look import look_at
from ovembed.launch.process import Process
from ovembed.launch.state import Server, Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 30


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Runs a shell script in the background, for as long as the test."""
    started = []

    def start(script: str) -> Process:
        started.append(Process.start(["sh", "-c", script], tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield start
    for each in started:
        each.stop(0)


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path / "state")


def server(home: Process | Container, name: str = "one") -> Server:
    return Server(name, "local", home, ("a", "b/c"), 12.5, "http://127.0.0.1:1", "/keys")


def wait_for(process: Process) -> str:
    """All that it says, until it ends."""
    said = io.BytesIO()
    reader = threading.Thread(target=process.follow, args=(said,))
    reader.start()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    return said.getvalue().decode()


def wait_for_words(process: Process, words: str) -> None:
    """Until it has said so."""

    class Listener(io.BytesIO):
        def flush(self) -> None:
            if words.encode() in self.getvalue():
                raise EOFError

    with pytest.raises(EOFError):
        process.follow(Listener())


def test_a_process_runs_until_it_ends_and_its_words_are_kept(run: Callable[[str], Process]) -> None:
    ended = run("echo one; echo two >&2; printf three")
    assert wait_for(ended) == "one\ntwo\nthree"
    assert not ended.running()
    assert ended.last_words(2) == "two\nthree"
    running = run("exec sleep 60")
    assert running.running()
    running.stop(PATIENCE_S)
    assert not running.running()
    running.stop(PATIENCE_S)


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no-such-program cannot be started \(No such file"):
        Process.start(["no-such-program"], tmp_path / "log")


def test_one_that_does_not_listen_is_ended_with_all_that_it_started(run: Callable[[str], Process]) -> None:
    stubborn = run("trap '' TERM; sleep 60 & echo child $!; wait")
    wait_for_words(stubborn, "child")
    child = int(stubborn.last_words(1).split()[1])
    stubborn.stop(0.1)
    assert not stubborn.running()
    assert process._start_of(child) is None


def test_children_in_sessions_of_their_own_are_ended_too(run: Callable[[str], Process]) -> None:
    """As the workers of our server are."""
    stubborn = run("trap '' TERM; setsid sh -c 'sleep 60 & echo child $$; wait' & wait")
    wait_for_words(stubborn, "child")
    child = psutil.Process(int(stubborn.last_words(1).split()[1]))
    family = [child, *child.children()]
    assert len(family) == 2
    stubborn.stop(0.1)
    assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []


def test_a_pid_that_was_used_again_and_one_of_another_boot_are_not_ours(run: Callable[[str], Process]) -> None:
    running = run("exec sleep 60")
    for other in (replace(running, started=running.started + 1), replace(running, boot="another")):
        assert not other.running()
        other.stop(0)
    assert running.running()


def test_what_is_known_of_a_server_is_read_back(run: Callable[[str], Process], servers: Servers) -> None:
    for home in (run("true"), Container("podman", "0123abc")):
        with servers.claim("one"):
            servers.save(server(home))
        assert servers.get("one") == servers.only() == server(home)
        servers.forget("one")
        assert servers.names() == []


def test_a_name_is_taken_while_its_server_runs_and_free_once_it_has_ended(
    run: Callable[[str], Process], servers: Servers
) -> None:
    running = run("exec sleep 60")
    with servers.claim("one"):
        servers.save(server(running))
    taken = r"'one' runs at http://127\.0\.0\.1:1\. Stop it \(ovembed stop one\)"
    with pytest.raises(InputError, match=taken), servers.claim("one"):
        pass
    assert servers.names() == ["one"]
    running.stop(PATIENCE_S)
    with servers.claim("one") as folder:
        assert list(folder.iterdir()) == []


def test_nothing_stays_of_a_start_that_fails(servers: Servers) -> None:
    def fail() -> None:
        with servers.claim("one") as folder:
            (folder / "log").touch()
            raise ServerError("no luck")

    with pytest.raises(ServerError, match="no luck"):
        fail()
    assert not (servers.root / "one").exists()


def test_two_cannot_start_under_one_name_and_a_killed_start_lets_go(servers: Servers) -> None:
    script = (
        "import pathlib, sys\n"
        "from ovembed.launch.state import Servers\n"
        f"with Servers(pathlib.Path({str(servers.root)!r})).claim('one'):\n"
        "    print('claimed', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"claimed\n"
        with pytest.raises(InputError, match="'one' is being started already"), servers.claim("one"):
            pass
        other.kill()
        other.wait(PATIENCE_S)
        with servers.claim("one") as folder:
            assert folder.is_dir()


@pytest.mark.parametrize("name", ["", "a", "a/b", "../a", "-a", "ä"])
def test_a_name_that_is_none_is_refused(name: str, servers: Servers) -> None:
    with pytest.raises(InputError, match="cannot be a server's name"), servers.claim(name):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "one"}', '{"home": {"kind": "moon"}}'])
def test_a_damaged_file_is_named(content: str, servers: Servers) -> None:
    (servers.root / "one").mkdir(parents=True)
    (servers.root / "one" / "server.json").write_text(content)
    with pytest.raises(ServerError, match=r"server\.json cannot be read .*rm -r .*one"):
        servers.get("one")


def test_a_server_that_is_not_known_is_told_with_those_that_are(
    run: Callable[[str], Process], servers: Servers
) -> None:
    with pytest.raises(InputError, match=r"Name a server\. There is none; start one with: ovembed serve --detach"):
        servers.only()
    for name in ("one", "two"):
        with servers.claim(name):
            servers.save(server(run("true"), name))
    with pytest.raises(InputError, match=r"No server 'six' was started here\. There is: one, two\."):
        servers.get("six")
    with pytest.raises(InputError, match="Name a server"):
        servers.only()


def test_how_a_server_is_doing_is_told(run: Callable[[str], Process]) -> None:
    running = run("exec sleep 60")
    assert look_at(replace(server(running), url=None)).summary == "running: it is loading"
    sick = look_at(server(running))
    assert (sick.state, sick.healthy) == ("running", False)
    assert "Nothing answers at http://127.0.0.1:1" in sick.problem
    running.stop(PATIENCE_S)
    assert look_at(server(running)).summary == "ended"
    assert json.dumps(sick.to_json())


def test_an_engine_that_is_gone_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = look_at(replace(server(Process(1, 1, "", tmp_path)), home=Container("podman", "0123abc")))
    assert seen.summary.startswith("unknown: podman is not installed")


def test_one_of_the_keys_is_used_to_ask(run: Callable[[str], Process], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the team\n\n  first \nsecond\n")
    asked = replace(server(run("true")), api_key_file=str(keys))
    assert asked.api_key == "first"
    keys.write_text("two words\n")
    assert asked.api_key is None, "no server takes this file"
    keys.unlink()
    assert asked.api_key is None


def test_a_server_is_stopped_in_the_time_that_it_may_take(tmp_path: Path) -> None:
    class Home:
        graces: ClassVar[list[float]] = []

        def stop(self, grace_s: float) -> None:
            self.graces.append(grace_s)

    patient = replace(server(Container("docker", "0123abc")), home=Home(), stop_s=905.0)
    patient.stop()
    patient.stop(1)
    assert Home.graces == [905.0, 1]

    servers = Servers(tmp_path)
    with servers.claim("one"):
        servers.save(replace(patient, home=Container("docker", "0123abc")))
    assert servers.get("one").stop_s == 905.0
    path = servers.root / "one" / "server.json"
    content = json.loads(path.read_text())
    del content["stop_s"]
    path.write_text(json.dumps(content))
    assert servers.get("one").stop_s == 35.0, "of one that was started before this was kept"


def test_the_state_lies_where_the_user_s_state_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Servers().root == tmp_path / "ovembed" / "servers"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Servers().root == tmp_path / ".local" / "state" / "ovembed" / "servers"


def test_a_log_that_is_gone_says_nothing(run: Callable[[str], Process]) -> None:
    ended = run("echo words")
    wait_for(ended)
    ended.log.unlink()
    assert ended.last_words(5) == ""
