"""Everything between the socket and the engines, put together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from ovembed.http.guards import Guards, Traffic
from ovembed.http.keys import KeyFile
from ovembed.http.observed import REQUEST_ID, Observed
from ovembed.server import openapi
from ovembed.server.app import create_app, error_response
from ovembed.server.catalog import Catalog
from ovembed.server.exchange import WARNING_HEADER
from ovembed.server.metrics import Metrics
from ovembed.server.readiness import Readiness
from ovembed.serving.batcher import Batcher
from ovembed.serving.condition import Condition
from ovembed.serving.models import ServedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp

    from ovembed.server.settings import ServeSettings
    from ovembed.serving.loading import LoadedModel


class Service:
    """Add the models, take the application, close in the end."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raises InputError for a key file that cannot be used."""
        self.traffic = Traffic()
        self._settings = settings
        self._keys = KeyFile(settings.api_key_file) if settings.api_key_file else None
        self._metrics = Metrics()
        self._catalog = Catalog()
        self._checks: dict[str, Callable[[], Awaitable[bool]]] = {}

    def add(self, model: LoadedModel) -> None:
        condition = Condition(model.golden)
        metrics = self._metrics.add_model(model.name, model.engine.spec)
        batcher = Batcher(
            model.engine,
            max_batch_tokens=self._settings.max_batch_tokens or model.batch_tokens,
            max_queued_tokens=self._settings.max_queued_tokens,
            observers=(condition, metrics),
        )
        self._metrics.watch(model.name, queue=batcher.queue, healthy=lambda: condition.healthy)
        self._checks[model.name] = functools.partial(condition.recovered, batcher)
        self._catalog.put(ServedModel(model.name, model.engine, batcher, model.created, metrics.admitted))

    def app(self) -> ASGIApp:
        """The application behind its guards. For requests only: no lifespan, no web sockets."""
        inner = create_app(self._catalog, Readiness(self.traffic, self._checks), self._settings.limits)
        inner.routes.append(self._metrics.route())
        openapi.describe(inner, self._catalog.models, secured=self._keys is not None)
        app: ASGIApp = Guards(inner, self.traffic, self._keys, render=error_response)
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
        for model in self._catalog.models.values():
            model.batcher.close()
