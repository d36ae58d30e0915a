"""Everything between the socket and the engines, put together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from ovembed.server.app import create_app
from ovembed.server.batcher import Batcher
from ovembed.server.drain import Drain, Traffic
from ovembed.server.exchange import WARNING_HEADER
from ovembed.server.keys import KeyFile, RequireKey
from ovembed.server.limits import TimeLimits
from ovembed.server.metrics import Metrics
from ovembed.server.models import ServedModel
from ovembed.server.observed import REQUEST_ID, Observed
from ovembed.server.readiness import Condition, Readiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp

    from ovembed.protocols import Engine
    from ovembed.server.readiness import GoldenText
    from ovembed.server.settings import ServeSettings


class Service:
    """Add the models, take the application, close in the end."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raises InputError for a key file that cannot be used."""
        self.traffic = Traffic()
        self._settings = settings
        self._keys = KeyFile(settings.api_key_file) if settings.api_key_file else None
        self._metrics = Metrics()
        self._models: dict[str, ServedModel] = {}
        self._checks: dict[str, Callable[[], Awaitable[bool]]] = {}

    def add(self, name: str, engine: Engine, golden: GoldenText, *, created: int) -> None:
        """Serve this engine, which is loaded and warm; its model was made at the Unix time `created`."""
        condition = Condition(golden)
        metrics = self._metrics.add_model(name, engine.spec)
        batcher = Batcher(
            engine,
            max_batch_tokens=self._settings.max_batch_tokens,
            max_queued_tokens=self._settings.max_queued_tokens,
            observers=(condition, metrics),
        )
        self._metrics.watch(name, queue=batcher.queue, healthy=lambda: condition.healthy)
        self._checks[name] = functools.partial(condition.recovered, batcher)
        self._models[name] = ServedModel(name, engine, batcher, created, metrics.admitted)

    def app(self) -> ASGIApp:
        """The application behind its guards. For requests only: no lifespan, no web sockets."""
        inner = create_app(self._models, max_body_bytes=self._settings.max_body_bytes)
        inner.router.routes.append(Route("/metrics", self._metrics.page))
        app: ASGIApp = TimeLimits(inner, request_s=self._settings.timeout_s, body_s=self._settings.body_timeout_s)
        app = Readiness(app, self.traffic, self._checks)
        app = Drain(app, self.traffic)
        if self._keys is not None:
            app = RequireKey(app, self._keys)
        if self._settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=self._settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", REQUEST_ID],
                expose_headers=["Retry-After", REQUEST_ID, WARNING_HEADER],
            )
        return Observed(app, self._metrics)

    def close(self) -> None:
        """Finish what is queued, and end the workers."""
        for model in self._models.values():
            model.batcher.close()
