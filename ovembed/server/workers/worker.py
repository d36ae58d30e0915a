"""A process of a server of several: `python -m ovembed.server.workers.worker CHANNEL LISTENER CPUS`.

CHANNEL and LISTENER are the file descriptors of inherited sockets, CPUS the numbers of those to run on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from ovembed.errors import OvembedError, ShuttingDown
from ovembed.http import door, logs
from ovembed.http.run import run_loop, serve_on
from ovembed.server.reload import Outcome, Reloader
from ovembed.server.service import Service
from ovembed.server.workers import merging
from ovembed.server.workers.channel import Channel, Gone
from ovembed.server.workers.questions import (
    Failed,
    GetFamilies,
    GetJob,
    GetOutcome,
    GetProblem,
    Job,
    Listening,
    Loaded,
    OfAll,
)

if TYPE_CHECKING:
    from prometheus_client import Metric

    from ovembed.server.workers.questions import OfOne

Answer = TypeVar("Answer")


class Colleagues:
    """All workers, as one of them sees them through the supervisor. What a server of one answers by itself."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def check(self, model: str | None = None) -> None:
        """Raises ShuttingDown or ModelUnready."""
        problems = await self._of_all(GetProblem(model))
        answered = [problem for problem in problems if not isinstance(problem, Gone)]
        problem = merging.first_problem(answered, missing=len(problems) - len(answered))
        if problem is not None:
            raise problem

    async def reload(self) -> Outcome:
        outcomes = await self._of_all(GetOutcome())
        return merging.merge_outcomes([outcome for outcome in outcomes if not isinstance(outcome, Gone)])

    async def families(self) -> list[Metric]:
        reports = await self._of_all(GetFamilies())
        return merging.merge_families(report for report in reports if not isinstance(report, Gone))

    async def _of_all(self, question: OfOne) -> Any:
        """Answers, and Gone in place of those that are missing."""
        try:
            return await self._channel.ask(OfAll(question))
        except Gone as error:
            raise ShuttingDown() from error


class _Worker:
    """Answers for this process."""

    service: Service
    reloader: Reloader

    async def run(self, end: socket.socket, listener: socket.socket) -> None:
        channel = await Channel.open(end, self._answer)
        leaving = asyncio.create_task(_leave_with(channel))
        job: Job = await channel.ask(GetJob())
        logs.configure(job.settings.log_format, access_log=job.settings.access_log)
        try:
            self.service = Service(job.settings)
            self.reloader = Reloader(job.selection, self.service)
            await asyncio.to_thread(self.reloader.load)
        except OvembedError as error:
            leaving.cancel()
            await channel.ask(Failed(error))
            return
        try:
            await channel.ask(Loaded())
            await self._serve(channel, listener, job)
        finally:
            leaving.cancel()
            self.service.close()

    async def _serve(self, channel: Channel, listener: socket.socket, job: Job) -> None:
        async def tell() -> None:
            await channel.ask(Listening())

        settings = job.settings
        door.open_again(listener)  # which the worker before may have closed, told to stop
        await serve_on(
            listener,
            self.service.app(Colleagues(channel)),
            self.service.traffic,
            grace_s=settings.grace_s,
            patience_s=settings.limits.body_s,
            tls=settings.tls,
            beside=tell,
        )

    async def _answer(self, question: OfOne) -> Any:
        match question:
            case GetFamilies():
                return await self.service.families()
            case GetProblem(model):
                try:
                    await self.service.check(model)
                except OvembedError as error:
                    return error
                return None
            case GetOutcome():
                return await self.reloader.reload()


async def _leave_with(channel: Channel) -> None:
    """A worker without a supervisor ends as if it was told to."""
    await channel.closed()
    signal.raise_signal(signal.SIGTERM)


def main() -> None:
    channel, listener, cpus = sys.argv[1:]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is the supervisor that reloads
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    run_loop(_Worker().run(socket.socket(fileno=int(channel)), socket.socket(fileno=int(listener))))


if __name__ == "__main__":
    main()
