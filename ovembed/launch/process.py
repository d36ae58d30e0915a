"""A server as a background process of this machine, its output in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from ovembed.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_POLL_S = 0.05
_TAIL_BYTES = 64 * 1024
_ENDED = {"Z", "X"}  # states of processes that only wait for somebody to hear of their end


@dataclass(frozen=True, slots=True)
class Process:
    """The leader of a process group. Its pid alone would not tell it from a later process of the same number.

    started: clock ticks from boot to its start (proc(5), field 22 of /proc/PID/stat); boot: that boot's id.
    """

    pid: int
    started: int
    boot: str
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> Self:
        """Raises ServerError when the program cannot be started."""
        output = (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            output,
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        variables = os.environ if environment is None else environment
        try:
            # Not by subprocess: what it starts is to be waited for by the same object, and ours outlives us.
            pid = os.posix_spawnp(command[0], list(command), variables, file_actions=actions, setsid=True)
        except OSError as error:
            raise ServerError(f"{command[0]} cannot be started ({error.strerror}).") from error
        return cls(pid, _start_of(pid) or 0, _boot(), log)

    def running(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _start_of(self.pid) == self.started and _boot() == self.boot

    def has_ended(self) -> bool:
        return not self.running()

    def stop(self, grace_s: float) -> None:
        """Tell it to end; after `grace_s`, end it, and whatever it has started."""
        if not self.running():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self.running() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        started = _descendants(self.pid)  # our workers are not of the group
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.running():
            time.sleep(_POLL_S)

    def last_words(self, lines: int) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def follow(self, output: IO[bytes]) -> None:
        with self.log.open("rb") as file:
            running = True
            while running:
                running = self.running()
                while chunk := file.read(_TAIL_BYTES):
                    output.write(chunk)
                    output.flush()
                time.sleep(_POLL_S if running else 0)


def _descendants(pid: int) -> list[int]:
    """Parents before their children."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _fields_of(int(folder.name)):
            children.setdefault(int(fields[0]), []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _start_of(pid: int) -> int | None:
    """None for a process that has ended."""
    fields = _fields_of(pid)
    return int(fields[18]) if fields else None


def _fields_of(pid: int) -> list[str]:
    """What proc(5) tells from field 4 on, the parent's pid; empty for a process that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    state, *fields = stat.rpartition(")")[2].split()
    return [] if state in _ENDED else fields


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
