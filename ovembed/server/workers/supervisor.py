"""Starts the workers of a server, keeps them running, and asks them all what concerns the whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ovembed import cores
from ovembed.errors import OvembedError, ServerError
from ovembed.http.listener import again, bound_together, url_of
from ovembed.server.reload import follow, logged
from ovembed.server.workers import leftovers
from ovembed.server.workers.channel import Channel, Unanswered
from ovembed.server.workers.crew import Crew
from ovembed.server.workers.questions import (
    Failed,
    GetFamilies,
    GetJob,
    GetOutcome,
    Job,
    Listening,
    Loaded,
    OfAll,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import Metric

    from ovembed.server.selection import Selection
    from ovembed.server.settings import ServeSettings
    from ovembed.server.workers.questions import OfOne

_LOG = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
_AFTER_THE_GRACE_S = 5.0
_LOOK_EVERY_S = 5.0
_PATIENCE_S = 30.0  # with a loop that does not run, which nothing that a worker does takes


def supervise(selection: Selection, settings: ServeSettings, *, on_ready: Callable[[str], None]) -> None:
    """Serve with `settings.workers` processes until SIGINT or SIGTERM; all finish what runs.

    `on_ready` gets the server's URL when all accept connections. Raises ServerError when the address cannot be
    bound, and what keeps a worker from loading its models.
    """
    with bound_together(settings.host, settings.port, settings.workers) as listeners:
        asyncio.run(_Supervisor(selection, settings, listeners).run(on_ready))


@dataclass(frozen=True, slots=True)
class _Share:
    """A worker's part of the machine and of the port."""

    number: int
    listener: socket.socket
    cpus: tuple[int, ...]
    job: Job


class _Supervisor:
    """The first worker loads models before the others, which find them compiled in the cache and share them from there.

    Cached models are mapped, so weights that OpenVINO uses as they are (fp32, not int8) are in memory once. And no two
    workers compile the same model, and write the same file of the cache, at the same time.
    """

    def __init__(self, selection: Selection, settings: ServeSettings, listeners: Sequence[socket.socket]) -> None:
        self._selection = selection
        self._settings = settings
        self._url = url_of(listeners[0], settings.tls)
        groups = cores.split(len(listeners))
        self._shares = [
            _Share(number, listener, cpus, Job(selection, share))
            for number, (listener, cpus, share) in enumerate(zip(listeners, groups, settings.split(), strict=True), 1)
        ]
        self._crew = Crew(len(listeners))
        self._first_loaded = asyncio.Event()
        self._all_loaded = asyncio.Barrier(len(listeners))
        self._all_listen = asyncio.Barrier(len(listeners) + 1)
        self._reload = logged(self._crew.reload)
        self._started = False
        self._stopping = asyncio.Event()

    async def run(self, on_ready: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._be_told_to_stop, number)
        keepers = [asyncio.create_task(self._keep(share)) for share in self._shares]
        companion = asyncio.create_task(self._announce_and_follow(on_ready))
        told = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*keepers, companion, told], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            self._first_loaded.set()
            companion.cancel()
            for worker in self._crew:
                worker.stop()
            ended = await asyncio.gather(*keepers, companion, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def _be_told_to_stop(self, number: signal.Signals) -> None:
        """As with one process: whoever presses Ctrl-C again does not wait for the grace."""
        if self._stopping.is_set() and number == signal.SIGINT:
            for worker in self._crew:
                worker.kill()
        self._stopping.set()

    async def _announce_and_follow(self, on_ready: Callable[[str], None]) -> None:
        await self._all_listen.wait()
        self._started = True
        on_ready(self._url)
        await follow(self._selection.config_path, self._reload)

    async def _keep(self, share: _Share) -> None:
        """One worker after another. Raises what keeps the first one from serving.

        Connections wait for the next one. When it cannot serve either they are closed, and new ones go to the others,
        as they do when the server stops and others have not ended yet.
        """
        pause_s = _FIRST_PAUSE_S
        if share is not self._shares[0]:
            await self._first_loaded.wait()
        while not self._stopping.is_set():
            worker = await _Worker.start(share, self._answer)
            self._crew.join(share.number, worker)
            if self._stopping.is_set():
                worker.stop()
            watching = asyncio.create_task(worker.watch())
            code = await worker.ended(self._settings.grace_s)
            watching.cancel()
            self._crew.leave(share.number)
            if self._stopping.is_set():
                break
            if not self._started:
                raise worker.failure or ServerError(f"Worker {share.number} ended with {code} before it could serve.")
            pause_s = _FIRST_PAUSE_S if worker.listened else min(2 * pause_s, _LONGEST_PAUSE_S)
            if not worker.listened:
                share = replace(share, listener=again(share.listener))
            because = worker.failure or f"it ended with {code}."
            _LOG.warning("Worker %d: %s Another starts in %g s.", share.number, because, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
        await leftovers.refuse(share.listener, self._settings)

    async def _answer(self, worker: _Worker, question: Any) -> Any:
        match question:
            case GetJob():
                return worker.share.job
            case Loaded():
                self._first_loaded.set()
                if not self._started:
                    await self._all_loaded.wait()
            case Listening():
                worker.listened = True
                if not self._started:
                    await self._all_listen.wait()
            case Failed(error):
                worker.failure = error
            case OfAll(GetOutcome()):
                return [await self._reload()]
            case OfAll(of_one):
                return await self._crew.ask(of_one)
        return None


class _Worker:
    """A process at work, seen from outside."""

    def __init__(self, share: _Share, process: asyncio.subprocess.Process) -> None:
        self.share = share
        self.listened = False
        self.failure: OvembedError | None = None
        self.last_families: list[Metric] = []
        self._process = process
        self._stopped = asyncio.Event()
        self._channel: Channel

    @classmethod
    async def start(cls, share: _Share, answer: Callable[[_Worker, Any], Any]) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ovembed.server.workers.worker"),
                *(str(theirs.fileno()), str(share.listener.fileno()), ",".join(map(str, share.cpus))),
                pass_fds=(theirs.fileno(), share.listener.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the supervisor, which tells its workers
            )
        worker = cls(share, process)
        worker._channel = await Channel.open(ours, lambda question: answer(worker, question))
        return worker

    async def ask(self, question: OfOne) -> Any:
        return await self._channel.ask(question)

    def stop(self) -> None:
        """Tell it to finish what runs."""
        if self._process.returncode is None:
            self._process.terminate()
        self._stopped.set()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def watch(self) -> None:
        """End it when it is there but does not answer: who is connected to it waits in vain. What it has counted until
        it was asked is known when it ends.
        """
        with contextlib.suppress(Unanswered):
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                if self.listened and not await self._gives_sign():
                    self.failure = ServerError(f"it gave no sign for {_PATIENCE_S:g} s.")
                    self.kill()

    async def _gives_sign(self) -> bool:
        try:
            self.last_families = await asyncio.wait_for(self.ask(GetFamilies()), _PATIENCE_S)
        except TimeoutError:
            return False
        return True

    async def ended(self, grace_s: float) -> int:
        """Its exit code; told to stop, it is ended after the grace."""
        ending = asyncio.create_task(self._process.wait())
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([ending, stopped], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([ending], timeout=grace_s + _AFTER_THE_GRACE_S)
        self.kill()
        stopped.cancel()
        code = await ending
        await self._channel.closed()
        self._channel.close()
        return code
