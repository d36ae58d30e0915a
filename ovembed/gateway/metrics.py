"""What the gateway tells Prometheus: the metrics of the original, and those of the way to the backend.

The original's come from https://github.com/trallnag/prometheus-fastapi-instrumentator with its defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
)
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from ovembed.http.observed import RequestReport
    from ovembed.protocols import Embeddings

_FINE_SECONDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5),
    *(7.5, 10, 30, 60),
)
_COARSE_SECONDS = (0.1, 0.5, 1)
_NO_ROUTE = "none"


class Metrics:
    """All metrics of one gateway, in a registry of its own. A RequestObserver and an UpstreamObserver."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._requests = Counter("http_requests_total", "Requests.", ("method", "status", "handler"), registry=registry)
        self._request_bytes = Summary(
            "http_request_size_bytes", "Content length of requests.", ("handler",), registry=registry
        )
        self._reply_bytes = Summary(
            "http_response_size_bytes", "Content length of replies.", ("handler",), registry=registry
        )
        self._fine_seconds = Histogram(
            "http_request_duration_highr_seconds", "Latency, finely.", buckets=_FINE_SECONDS, registry=registry
        )
        self._coarse_seconds = Histogram(
            "http_request_duration_seconds",
            "Latency by handler.",
            ("method", "handler"),
            buckets=_COARSE_SECONDS,
            registry=registry,
        )
        self._running = Gauge("ovembed_gateway_running_requests", "Requests at work now.", registry=registry)
        self._texts = Counter("ovembed_gateway_texts", "Inputs embedded.", registry=registry)
        self._tokens = Counter("ovembed_gateway_tokens", "Their tokens, as the backend counts.", registry=registry)
        self._tries = Histogram(
            "ovembed_gateway_backend_seconds",
            "A request to the backend, by the status of its answer, or refused, timeout, broken.",
            ("outcome",),
            buckets=_FINE_SECONDS,
            registry=registry,
        )

    def request_began(self) -> None:
        self._running.inc()

    def request_ended(self, request: RequestReport) -> None:
        handler = request.route or _NO_ROUTE
        self._running.dec()
        self._requests.labels(request.method, f"{request.status // 100}xx", handler).inc()
        self._request_bytes.labels(handler).observe(request.request_bytes)
        self._reply_bytes.labels(handler).observe(request.reply_bytes)
        self._fine_seconds.observe(request.took_s)
        self._coarse_seconds.labels(request.method, handler).observe(request.took_s)

    def embedded(self, result: Embeddings) -> None:
        self._texts.inc(len(result.vectors))
        self._tokens.inc(result.total_tokens)

    def try_ended(self, outcome: str, took_s: float) -> None:
        self._tries.labels(outcome).observe(took_s)

    async def page(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), media_type=content_type)
