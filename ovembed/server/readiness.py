"""Whether requests should be sent here: not while draining, and not while a model gives wrong vectors."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed import vectors
from ovembed.server import replies
from ovembed.verification import LEAST_COSINE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ovembed.protocols import Tokens, Vectors
    from ovembed.server.batcher import Batcher, BatchReport
    from ovembed.server.drain import Traffic

# A probe that waits longer gets no for an answer; the check goes on, and the next probe hears of it.
_PATIENCE_S = 5.0

# Where the dialects say that all models, or one, can be asked: TEI's two, and those of KServe v2.
_ROUTES = {"/", "/health", "/v2/health/ready"}
_ROUTE_OF_A_MODEL = re.compile(r"/v2/models/(?P<name>.+?)(?:/versions/[^/]+)?/ready")


@dataclass(frozen=True, slots=True)
class GoldenText:
    """A text whose vector was recorded at export: float32 (dimensions,)."""

    tokens: Tokens
    vector: Vectors


class Condition:
    """One model's health: lost with a failed batch, regained when the golden text embeds right. A BatchObserver."""

    def __init__(self, golden: GoldenText) -> None:
        self._golden = golden
        self._lock = threading.Lock()
        self._faults = 0
        self._forgiven = 0
        self._check: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        return self._faults == self._forgiven

    def batch_ended(self, batch: BatchReport) -> None:
        if batch.error is not None:
            with self._lock:
                self._faults += 1

    def texts_dropped(self, count: int) -> None:
        pass

    async def recovered(self, batcher: Batcher) -> bool:
        """Healthy, if need be after a look at the golden text. Callers at the same time share one look."""
        if not self.healthy:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._embed_golden(batcher))
            await asyncio.wait({self._check}, timeout=_PATIENCE_S)
        return self.healthy

    async def _embed_golden(self, batcher: Batcher) -> None:
        """Forgives the faults from before it began, not those that happen meanwhile."""
        faults = self._faults
        try:
            rows = await asyncio.wrap_future(batcher.submit([self._golden.tokens]))
        except Exception:  # noqa: BLE001  whatever it is, the model does not work
            return
        if vectors.cosine(rows, self._golden.vector[None])[0] >= LEAST_COSINE:
            self._forgiven = faults


class Readiness:
    """Puts what is known of the models before the application's health routes: 503 where they would say 200.

    `checks`: by model, whether it works now.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic, checks: Mapping[str, Callable[[], Awaitable[bool]]]) -> None:
        self._app = app
        self._traffic = traffic
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        concerned = self._models_concerned(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
        if concerned is None:
            await self._app(scope, receive, send)
        elif self._traffic.draining:
            await replies.unavailable("The server is shutting down.", "shutting_down")(scope, receive, send)
        elif failing := [name for name in concerned if not await self._checks[name]()]:
            message = f"{', '.join(failing)}: a batch failed, and the golden text does not embed right since."
            await replies.unavailable(message, "unhealthy")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _models_concerned(self, path: str) -> list[str] | None:
        """The models whose readiness the path asks for; None for every other path."""
        if path in _ROUTES:
            return list(self._checks)
        about = _ROUTE_OF_A_MODEL.fullmatch(path)
        return [about["name"]] if about and about["name"] in self._checks else None
