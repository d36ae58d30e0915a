"""The servers of this user that run on their own, each with a folder below the user's state directory.

$XDG_STATE_HOME/ovembed/servers/<name>/server.json, and what its server needs: log, url, config/
                                .<name>.lock         held while it is being started
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from filelock import FileLock, Timeout

from ovembed.errors import InputError, ServerError
from ovembed.http.key_file import read_keys
from ovembed.launch.container import Container
from ovembed.launch.process import Process
from ovembed.repository.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

Backend: TypeAlias = Literal["local", "docker", "ovms"]

_FILE_NAME = "server.json"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")  # as docker has it
_STOP_S = 35.0


class Home(Protocol):
    """Where a server runs, once it has been started."""

    def running(self) -> bool: ...

    def has_ended(self) -> bool:
        """Once at least: what is started again by itself has."""

    def stop(self, grace_s: float) -> None:
        """Nothing of it is left, whether or not it ran."""

    def last_words(self, lines: int) -> str: ...

    def follow(self, output: IO[bytes]) -> None:
        """Write all that it has said and says, until it ends."""


@dataclass(frozen=True, slots=True)
class Server:
    """`url` None until it is known; `started_at` is Unix time; `api_key_file` holds the keys of its clients.

    stop_s: how long it gets to finish what runs when it is told to stop.
    """

    name: str
    backend: Backend
    home: Process | Container
    models: tuple[str, ...]
    started_at: float
    url: str | None = None
    api_key_file: str | None = None
    stop_s: float = _STOP_S

    @property
    def api_key(self) -> str | None:
        """One of its clients' keys, to ask it with; None without a file, or when that cannot be read."""
        if self.api_key_file is None:
            return None
        try:
            return read_keys(Path(self.api_key_file))[0].decode()
        except (InputError, UnicodeDecodeError):
            return None

    def stop(self, grace_s: float | None = None) -> None:
        """In the time that it may take, or in `grace_s`."""
        self.home.stop(self.stop_s if grace_s is None else grace_s)


class Servers:
    """The folder of them all; by default this user's."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or _state_home() / "ovembed" / "servers"

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob(f"*/{_FILE_NAME}"))

    def get(self, name: str) -> Server:
        """Raises InputError for a name that is not known, ServerError for a damaged file."""
        path = self.root / name / _FILE_NAME
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise InputError(f"No server '{name}' was started here. {self._known()}") from error
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ServerError(f"{path} cannot be read ({error}). Remove its folder: rm -r {path.parent}") from error

    def only(self) -> Server:
        """Raises InputError unless there is exactly one."""
        names = self.names()
        if len(names) != 1:
            raise InputError(f"Name a server. {self._known()}")
        return self.get(names[0])

    def save(self, server: Server) -> None:
        replace_file(self.root / server.name / _FILE_NAME, json.dumps(_to_json(server), indent=2) + "\n")

    def forget(self, name: str) -> None:
        shutil.rmtree(self.root / name, ignore_errors=True)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[Path]:
        """An empty folder for a server of that name, which goes again if the block fails.

        What is left of one that has ended is removed. Raises InputError when one runs, or is being started.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' cannot be a server's name: take two or more letters, digits, '_', '.', '-'.")
        self.root.mkdir(parents=True, exist_ok=True)
        with self._starting(name):
            self._remove_ended(name)
            folder = self.root / name
            folder.mkdir(mode=0o700)
            try:
                yield folder
            except BaseException:
                self.forget(name)
                raise

    @contextlib.contextmanager
    def _starting(self, name: str) -> Iterator[None]:
        """One at a time; a process that is killed meanwhile lets go."""
        lock = FileLock(self.root / f".{name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise InputError(f"A server '{name}' is being started already. Choose another --container-name.") from error
        try:
            yield
        finally:
            lock.release()

    def _known(self) -> str:
        names = ", ".join(self.names())
        return f"There is: {names}." if names else "There is none; start one with: ovembed serve --detach"

    def _remove_ended(self, name: str) -> None:
        if name in self.names():
            server = self.get(name)
            if server.home.running():
                raise InputError(
                    f"A server '{name}' runs at {server.url}. Stop it (ovembed stop {name}), "
                    "or choose another --container-name."
                )
            server.stop()
        self.forget(name)


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


_HOMES = {"process": Process, "container": Container}


def _to_json(server: Server) -> dict[str, Any]:
    kind = next(kind for kind, home in _HOMES.items() if isinstance(server.home, home))
    home = asdict(server.home)
    if isinstance(server.home, Process):
        home["log"] = str(server.home.log)
    return asdict(server) | {"home": {"kind": kind} | home}


def _from_json(content: dict[str, Any]) -> Server:
    home = dict(content["home"])
    kind = home.pop("kind")
    where = Process(**home | {"log": Path(home["log"])}) if kind == "process" else Container(**home)
    return Server(**content | {"home": where, "models": tuple(content["models"])})
