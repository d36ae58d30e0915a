"""Whether a server really works: it answers, says it is ready, has its models, and embeds a text."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from ovembed import remote
from ovembed.errors import EndpointError, OvembedError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_ASK_ONCE = remote.RemoteSettings(retries=0)

# How servers without a route say so: 404 by most, 400 by OVMS, 405 by some gateways.
_NOT_OFFERED = {400, 404, 405}


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the server; `ok` is None where it does not offer an answer."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks, in the order they were made; the server is healthy when none failed."""

    url: str
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        return all(check.ok is not False for check in self.checks)

    @property
    def problem(self) -> str:
        """The first check that failed, in words; empty for a healthy server."""
        return next((f"{check.name}: {check.detail}" for check in self.checks if check.ok is False), "")

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def check_health(url: str, *, model: str | None = None, api_key: str | None = None) -> HealthReport:
    """Ask once. `model` narrows the check to one of the server's models. Raises InputError for no URL."""
    base = remote.api_base(url)
    with remote.http_client(base, api_key=api_key, timeout=_TIMEOUT) as client:
        probe = _Probe(client, base)
        live = probe.route("live", "/v2/health/live")
        if live.ok is False:
            return HealthReport(url, (live,))
        ready = probe.route("ready", "/v2/health/ready")
        names, listed = probe.models(model)
        checks = [live, ready, listed]
        for name in names:
            checks.append(probe.model_ready(name, offered=ready.ok is not None))
            checks.append(probe.embedding(name))
        return HealthReport(url, tuple(checks))


def wait_healthy(
    url: str,
    wait_s: float,
    *,
    model: str | None = None,
    api_key: str | None = None,
    on_wait: Callable[[HealthReport], None] = lambda _: None,
) -> HealthReport:
    """Ask again, ever less often, until the server is healthy or `wait_s` seconds have passed; the last report."""
    deadline = time.monotonic() + wait_s
    pause = _FIRST_PAUSE_S
    while True:
        report = check_health(url, model=model, api_key=api_key)
        remaining = deadline - time.monotonic()
        if report.healthy or remaining <= 0:
            return report
        on_wait(report)
        time.sleep(min(pause, remaining))
        pause = min(pause * 2, _LONGEST_PAUSE_S)


class _Probe:
    """The questions, over one connection."""

    def __init__(self, client: httpx.Client, base: str) -> None:
        self._client = client
        self._base = base
        self._root = str(httpx.URL(base).copy_with(path="/")).rstrip("/")

    def route(self, name: str, path: str) -> Check:
        """A route of the KServe v2 protocol that answers with a status alone."""
        try:
            status = self._status(path)
        except EndpointError as error:
            return Check(name, ok=False, detail=str(error))
        if status in _NOT_OFFERED:
            return Check(name, ok=None, detail="not offered by this server")
        return Check(name, ok=status == httpx.codes.OK, detail=f"HTTP {status}")

    def model_ready(self, model: str, *, offered: bool) -> Check:
        """Where the server has such routes at all, one that is missing means that the model is."""
        name = f"model {model}"
        if not offered:
            return Check(name, ok=None, detail="not offered by this server")
        try:
            status = self._status(f"/v2/models/{quote(model, safe='')}/ready")
        except EndpointError as error:
            return Check(name, ok=False, detail=str(error))
        return Check(name, ok=status == httpx.codes.OK, detail=f"HTTP {status}")

    def models(self, wanted: str | None) -> tuple[list[str], Check]:
        """The models to check, out of those that the server lists."""
        try:
            with remote.translated(self._base):
                response = self._client.get(f"{self._base}/models")
        except EndpointError as error:
            return [], Check("models", ok=False, detail=str(error))
        if response.is_error and response.status_code not in _NOT_OFFERED:
            return [], Check("models", ok=False, detail=f"HTTP {response.status_code}")
        try:
            names = [str(item["id"]) for item in orjson.loads(response.content)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _unlisted(wanted)
        if wanted is not None and wanted not in names:
            return [], Check("models", ok=False, detail=f"'{wanted}' is not among {', '.join(names) or 'none'}")
        return ([wanted] if wanted else names), Check("models", ok=bool(names), detail=", ".join(names) or "none")

    def embedding(self, model: str) -> Check:
        name = f"embedding by {model}"
        began = time.perf_counter()
        try:
            embedder = remote.RemoteEmbedder(self._base, model=model, client=self._client, settings=_ASK_ONCE)
            result = embedder.embed(["Is all well?"])
        except OvembedError as error:
            return Check(name, ok=False, detail=str(error))
        took_ms = (time.perf_counter() - began) * 1000
        length = float(np.linalg.norm(result.vectors[0]))
        if not length > 0:
            return Check(name, ok=False, detail=f"a vector of length {length}")
        return Check(name, ok=True, detail=f"{result.vectors.shape[1]} dimensions, {took_ms:.0f} ms")

    def _status(self, path: str) -> int:
        with remote.translated(self._root):
            return self._client.get(self._root + path).status_code


def _unlisted(wanted: str | None) -> tuple[list[str], Check]:
    """A server that embeds nothing has not been shown to work, so then the model must be named."""
    if wanted is None:
        return [], Check("models", ok=False, detail="not listed by this server; name one with --model")
    return [wanted], Check("models", ok=None, detail="not listed by this server")
