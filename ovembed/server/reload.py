"""The models of the repository, again: new ones are loaded, changed ones replaced, removed ones retired."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ovembed.errors import OvembedError, RepositoryError
from ovembed.repository.files import stamp
from ovembed.server.catalog import State
from ovembed.serving.loading import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.engine import EngineSettings
    from ovembed.repository import ModelEntry
    from ovembed.repository.files import Stamp
    from ovembed.server.selection import Selection
    from ovembed.server.service import Service
    from ovembed.serving.loading import LoadedModel

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a reload: what has changed, in words, and what could not; the models concerned go on as they were."""

    changes: tuple[str, ...] = ()
    problems: tuple[OvembedError, ...] = ()


Load: TypeAlias = "Callable[[ModelEntry, EngineSettings], LoadedModel]"
Reload: TypeAlias = Callable[[], Awaitable[Outcome]]


async def nothing_to_reload() -> Outcome:
    """Of a service whose models stay as they are."""
    return Outcome()


def logged(reload: Reload) -> Reload:
    """The same, and its outcome in the log: a line for each change and each problem."""

    async def reload_and_log() -> Outcome:
        outcome = await reload()
        for change in outcome.changes:
            _LOG.info("Reload: %s", change)
        for problem in outcome.problems:
            _LOG.warning("Reload: what was served before is served still. %s", problem)
        return outcome

    return reload_and_log


async def follow(config_path: Path, reload: Reload) -> None:
    """Reload whenever the configuration file has changed, and on SIGHUP, until cancelled.

    A SIGHUP because the terminal has gone is what it is to every program: the end.
    """
    told = asyncio.Event()
    in_terminal = _in_terminal()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)
    known = None
    while True:
        found = await asyncio.to_thread(stamp, config_path)
        if told.is_set() and in_terminal and not _in_terminal():
            signal.raise_signal(signal.SIGTERM)
            return
        if told.is_set() or found != known:
            told.clear()
            known = found
            await reload()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), _POLL_S)


def _in_terminal() -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(0)
    return False


class Reloader:
    """Keeps a service with the models that the repository selects; one reload at a time, on the event loop.

    A model is the same as long as none of its files is replaced or written, and then it is not touched.
    """

    def __init__(self, selection: Selection, service: Service, load: Load = load_model) -> None:
        self._selection = selection
        self._service = service
        self._load_model = load
        self._lock = asyncio.Lock()
        self._versions: dict[str, tuple[Stamp | None, ...]] = {}

    def load(self) -> None:
        """The models of the start, before there is an event loop.

        Raises ModelNotFound, RepositoryError or EngineError for a model that cannot be served.
        """
        for entry in self._selection.entries():
            version = _version(entry)
            self._service.put(self._load(entry))
            self._versions[entry.name] = version

    async def reload(self) -> Outcome:
        """What has become of the repository. Requests go on meanwhile: none fails for it."""
        async with self._lock:
            try:
                return await self._apply()
            except OvembedError as error:
                return Outcome(problems=(error,))
            except Exception:  # noqa: BLE001  whoever waits must hear of it, and whoever watches go on
                _LOG.exception("Reload failed. This is a bug.")
                return Outcome(problems=(OvembedError("Internal error. This is a bug."),))

    async def _apply(self) -> Outcome:
        names = await asyncio.to_thread(self._selection.names, list(self._versions))
        removed = [name for name in self._service.catalog.models if name not in names]
        for name in removed:
            del self._versions[name]
            self._service.remove(name)
        for name, status in self._service.catalog.statuses.items():
            if status.state is State.LOADING and name not in names:
                self._service.catalog.note(name, State.END)
        changes, problems = [f"{name} is no longer served." for name in removed], []
        for name in names:
            try:
                changes.extend(await self._renew(name))
            except OvembedError as error:
                problems.append(error)
                self._note_unloaded(name, str(error))
        return Outcome(tuple(changes), tuple(problems))

    async def _renew(self, name: str) -> list[str]:
        """What has changed for the model. Raises OvembedError when it cannot be loaded."""
        entry = await asyncio.to_thread(self._selection.entry, name)
        version = await asyncio.to_thread(_version, entry)
        if version == self._versions.get(name):
            return []
        self._note_unloaded(name)
        self._service.put(await asyncio.to_thread(self._load, entry))
        self._versions[name] = version
        return [f"{name} is served, fingerprint {entry.spec.fingerprint}."]

    def _load(self, entry: ModelEntry) -> LoadedModel:
        return self._load_model(entry, self._service.settings.engine)

    def _note_unloaded(self, name: str, problem: str = "") -> None:
        if name not in self._service.catalog.models:
            self._service.catalog.note(name, State.LOADING, problem)


def _version(entry: ModelEntry) -> tuple[Stamp | None, ...]:
    """Differs whenever a file of the model has been replaced or written. Raises RepositoryError for a missing one."""
    found = tuple(stamp(path) for path in entry.files)
    if None in found:
        missing = entry.files[found.index(None)]
        raise RepositoryError(f"{missing} is missing. Export the model again.")
    return found
