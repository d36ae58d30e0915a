"""What the server tells Prometheus. Every label value comes from a closed set: routes, served models, status codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from ovembed.errors import (
    BodyTimeout,
    ModelUnready,
    Overloaded,
    RequestTimeout,
    RequestTooLarge,
    ShuttingDown,
    Unauthorized,
)
from ovembed.server.openapi import Described, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from prometheus_client import Metric
    from starlette.requests import Request

    from ovembed.http.observed import RequestReport
    from ovembed.serving.batcher import BatchReport, QueueState
    from ovembed.spec import ModelSpec

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)

# Why a request that asked for work got none, by the error that told it so.
_REFUSALS: Mapping[type, str] = {
    Unauthorized: "no_key",
    BodyTimeout: "slow_body",
    RequestTooLarge: "too_large",
    Overloaded: "queue_full",
    ModelUnready: "model_unready",
    ShuttingDown: "shutting_down",
    RequestTimeout: "time_limit",
}

# When each series began: nothing here needs it, and it would double the page.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class _Collected(CollectorRegistry):
    """What was collected before, for an encoder."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics:
    """All metrics of one server, in a registry of its own. A RequestObserver."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = self._counter("requests", "Requests answered.", "route", "model", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "Time from a request's head to the end of its reply.", _SECONDS, "route"
        )
        self._running = Gauge("ovembed_running_requests", "Requests at work now.", registry=self._registry)
        self._refused = self._counter("refused_requests", "Requests for work that got none.", "reason")
        for reason in _REFUSALS.values():
            self._refused.labels(reason)
        self._model_info = self._gauge("model_info", "1; what the model is stands in the labels.", *_INFO_LABELS)
        self._healthy = self._gauge("model_healthy", "0 from a failed batch until the golden text embeds right.")
        self._queue_texts = self._gauge("queue_texts", "Texts that wait.")
        self._queue_tokens = self._gauge("queue_tokens", "Tokens that wait.")
        self._queue_oldest = self._gauge("queue_oldest_seconds", "How long the text that is next in turn has waited.")
        self.texts = self._counter("texts", "Texts embedded.", "model")
        self.tokens = self._counter("tokens", "Tokens computed, without padding.", "model")
        self.padding = self._counter("padding_tokens", "Tokens computed only to fill up the rows of batches.", "model")
        self.truncated = self._counter("truncated_texts", "Texts cut to the model's length.", "model")
        self.dropped = self._counter("dropped_texts", "Texts not run because nobody waited for them.", "model")
        self.failed_batches = self._counter("failed_batches", "Batches that the engine could not run.", "model")
        self.batch_texts = self._histogram("batch_texts", "Texts of a batch.", _TEXTS, "model")
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of a batch, with padding.", _TOKENS, "model")
        self.tokenize_seconds = self._histogram("tokenize_seconds", "Tokenizing a request.", _SECONDS, "model")
        self.queue_seconds = self._histogram("queue_seconds", "A text's wait for its batch.", _SECONDS, "model")
        self.inference_seconds = self._histogram("inference_seconds", "Running a batch.", _SECONDS, "model")

    def add_model(self, name: str, spec: ModelSpec) -> ModelMetrics:
        """Describe a model, in place of one of the same name; what happens to it is told to the result."""
        self._model_info.remove_by_labels({"model": name})
        values = (name, spec.fingerprint, spec.source, spec.precision, spec.pooling, spec.dimensions, spec.max_tokens)
        self._model_info.labels(*values).set(1)
        return ModelMetrics(self, name)

    def watch(self, name: str, *, queue: Callable[[], QueueState], healthy: Callable[[], bool]) -> None:
        """Ask for these whenever the metrics are read."""
        self._queue_texts.labels(name).set_function(lambda: queue().texts)
        self._queue_tokens.labels(name).set_function(lambda: queue().tokens)
        self._queue_oldest.labels(name).set_function(lambda: queue().oldest_s)
        self._healthy.labels(name).set_function(healthy)

    def remove_model(self, name: str) -> None:
        """Nothing is to be asked for any more; what was counted stays."""
        gauges = (self._model_info, self._healthy, self._queue_texts, self._queue_tokens, self._queue_oldest)
        for gauge in gauges:
            gauge.remove_by_labels({"model": name})

    def request_began(self) -> None:
        self._running.inc()

    def request_ended(self, request: RequestReport) -> None:
        self._running.dec()
        self._requests.labels(request.route, request.model, request.status).inc()
        self._request_seconds.labels(request.route).observe(request.took_s)
        reason = _refusal(request.error)
        if request.asked_for_work and reason is not None:
            self._refused.labels(reason).inc()

    def families(self) -> list[Metric]:
        """Every metric, as it is now."""
        return list(self._registry.collect())

    def route(self, families: Callable[[], Awaitable[list[Metric]]]) -> Described:
        """The page; `families` are the metrics to show, which may be those of several servers."""

        async def page(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(_Collected(await families())), media_type=content_type)

        formats = ("text/plain", "application/openmetrics-text")
        return Described(
            "/metrics",
            page,
            tag="Server",
            summary="Metrics for Prometheus",
            about="In Prometheus's text format, or in OpenMetrics where the Accept header asks for it.",
            replies=[Reply(200, "Every metric of the server.", media_type=media_type) for media_type in formats],
        )

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"ovembed_{name}", about, labels, registry=self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"ovembed_{name}", about, labels or ("model",), registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"ovembed_{name}", about, labels, buckets=buckets, registry=self._registry)


def _refusal(error: Exception | None) -> str | None:
    """Also of an error in another server's words, which was raised from ours."""
    kinds = (type(error), type(error and error.__cause__))
    return next((_REFUSALS[kind] for kind in kinds if kind in _REFUSALS), None)


_INFO_LABELS = ("model", "fingerprint", "source", "precision", "pooling", "dimensions", "max_tokens")


class ModelMetrics:
    """One model's part of the metrics. A BatchObserver."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._texts = metrics.texts.labels(name)
        self._tokens = metrics.tokens.labels(name)
        self._padding = metrics.padding.labels(name)
        self._truncated = metrics.truncated.labels(name)
        self._dropped = metrics.dropped.labels(name)
        self._failed_batches = metrics.failed_batches.labels(name)
        self._batch_texts = metrics.batch_texts.labels(name)
        self._batch_tokens = metrics.batch_tokens.labels(name)
        self._tokenize_seconds = metrics.tokenize_seconds.labels(name)
        self._queue_seconds = metrics.queue_seconds.labels(name)
        self._inference_seconds = metrics.inference_seconds.labels(name)

    def admitted(self, *, truncated: int, took_s: float) -> None:
        """The texts of a request were tokenized and so many of them cut."""
        self._tokenize_seconds.observe(took_s)
        self._truncated.inc(truncated)

    def batch_ended(self, batch: BatchReport) -> None:
        for waited_s in batch.waited_s:
            self._queue_seconds.observe(waited_s)
        self._inference_seconds.observe(batch.inference_s)
        if batch.error is not None:
            self._failed_batches.inc()
            return
        self._texts.inc(len(batch.lengths))
        self._tokens.inc(batch.tokens)
        self._padding.inc(batch.padding)
        self._batch_texts.observe(len(batch.lengths))
        self._batch_tokens.observe(batch.tokens + batch.padding)

    def texts_dropped(self, count: int) -> None:
        self._dropped.inc(count)
