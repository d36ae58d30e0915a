"""Everything between the socket and the engines, put together."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Protocol

from starlette.middleware.cors import CORSMiddleware

from ovembed.http.guards import Guards, Traffic
from ovembed.http.keys import KeyFile
from ovembed.http.observed import REQUEST_ID, Observed
from ovembed.http.replies import WARNING_HEADER
from ovembed.server import openapi
from ovembed.server.app import create_app, error_response
from ovembed.server.catalog import Catalog
from ovembed.server.metrics import Metrics
from ovembed.server.readiness import OwnReadiness
from ovembed.server.reload import nothing_to_reload
from ovembed.serving.batcher import Batcher
from ovembed.serving.condition import Condition
from ovembed.serving.models import ServedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Metric
    from starlette.types import ASGIApp

    from ovembed.server.reload import Outcome, Reload
    from ovembed.server.settings import ServeSettings
    from ovembed.serving.loading import LoadedModel


class Team(Protocol):
    """Several processes that serve together, as one of them asks them all."""

    async def check(self, model: str | None = None) -> None: ...

    async def reload(self) -> Outcome: ...

    async def families(self) -> list[Metric]: ...


class Service:
    """Put the models in, take the application, close in the end. Once it runs, everything belongs to its event loop."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raises InputError for a key file that cannot be used."""
        self.traffic = Traffic()
        self.catalog = Catalog()
        self.settings = settings
        self._keys = KeyFile(settings.api_key_file) if settings.api_key_file else None
        self._metrics = Metrics()
        self._batchers: list[Batcher] = []
        self._farewells: set[asyncio.Task[None]] = set()
        self._checks: dict[str, Callable[[], Awaitable[bool]]] = {}
        self._readiness = OwnReadiness(self.traffic, self._checks)

    def put(self, model: LoadedModel) -> None:
        """Requests go to this one from now on; one of the same name ends when those that it has are answered."""
        replaced = self.catalog.models.get(model.name)
        condition = Condition(model.golden)
        metrics = self._metrics.add_model(model.name, model.engine.spec)
        batcher = Batcher(
            model.engine,
            max_batch_tokens=self.settings.max_batch_tokens or model.batch_tokens,
            max_queued_tokens=self.settings.max_queued_tokens,
            observers=(condition, metrics),
        )
        self._metrics.watch(model.name, queue=batcher.queue, healthy=lambda: condition.healthy)
        self._checks[model.name] = functools.partial(condition.recovered, batcher)
        self._batchers.append(batcher)
        self.catalog.put(ServedModel(model.name, model.engine, batcher, model.created, metrics.admitted))
        if replaced is not None:
            self._see_off(replaced)

    def remove(self, name: str) -> None:
        """Requests do not reach this model any more; it ends when those that it has are answered."""
        del self._checks[name]
        self._metrics.remove_model(name)
        self._see_off(self.catalog.withdraw(name))

    async def check(self, model: str | None = None) -> None:
        """Whether requests should be sent here: a Readiness."""
        await self._readiness.check(model)

    async def families(self) -> list[Metric]:
        """The metrics of this process."""
        return self._metrics.families()

    def app(self, team: Team | None = None, *, reload: Reload = nothing_to_reload) -> ASGIApp:
        """The application behind its guards. For requests only: no lifespan, no web sockets.

        `team` answers for the whole server in place of this process alone.
        """
        inner = create_app(self.catalog, team or self, self.settings.limits, team.reload if team else reload)
        inner.routes.append(self._metrics.route((team or self).families))
        openapi.describe(inner, self.catalog.models, secured=self._keys is not None)
        app: ASGIApp = Guards(inner, self.traffic, self._keys, render=error_response)
        if self.settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=self.settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", REQUEST_ID],
                expose_headers=["Retry-After", REQUEST_ID, WARNING_HEADER],
            )
        return Observed(app, self._metrics)

    def close(self) -> None:
        """Finish what is queued, and end the workers."""
        for batcher in self._batchers:
            batcher.close()

    def _see_off(self, model: ServedModel) -> None:
        farewell = asyncio.create_task(self._end(model))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _end(self, model: ServedModel) -> None:
        await self.catalog.unused(model)
        await asyncio.to_thread(model.batcher.close)
        self._batchers.remove(model.batcher)
        self.catalog.ended(model.name)
