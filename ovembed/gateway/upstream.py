"""The way to an HTTP backend: kept connections, a bound on requests at once, time limits, new tries where safe."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from ovembed import wire
from ovembed.errors import (
    EndpointError,
    EndpointLost,
    EndpointRefused,
    EndpointTimeout,
    ModelUnready,
    OvembedError,
    Overloaded,
    RequestTooLarge,
)
from ovembed.remote.http import CONNECT_TIMEOUT_S, in_words, parse_url, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ovembed.gateway.oauth import ClientCredentials

_FIRST_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """timeout_s: a request without an answer for so long is given up. retries: further tries after the first."""

    max_at_once: int = 256
    timeout_s: float = 300
    retries: int = 2


class UpstreamObserver(Protocol):
    """Told of every try: `outcome` is the status of the answer, or `refused`, `timeout`, `broken` without one."""

    def try_ended(self, outcome: str, took_s: float, /) -> None: ...


# No work was done for these, or it is lost. A vector can be computed twice; what took too long is not asked for again.
_SAFE_TO_TRY_AGAIN = (EndpointRefused, EndpointLost, ModelUnready)

_MEANINGS: Mapping[int, type[OvembedError]] = {
    httpx.codes.REQUEST_ENTITY_TOO_LARGE: RequestTooLarge,
    httpx.codes.TOO_MANY_REQUESTS: Overloaded,
    httpx.codes.SERVICE_UNAVAILABLE: ModelUnready,
    httpx.codes.GATEWAY_TIMEOUT: EndpointTimeout,
}


class Upstream:
    """An answer that is not 200 is an error: what the dialect makes of its status and message, by `own_error`, else
    what the status means everywhere. After ModelUnready a later try may do better.

    Proxies of the environment are not asked: a backend stands beside the gateway, as in the original. Raises
    InputError for what is no URL.
    """

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        observer: UpstreamObserver,
        own_error: Callable[[int, str], OvembedError | None],
        *,
        headers: Mapping[str, str] | None = None,
        auth: ClientCredentials | None = None,
    ) -> None:
        self._url = str(parse_url(url)).rstrip("/")
        self.base = in_words(self._url).rstrip("/")
        self._settings = settings
        self._observer = observer
        self._own_error = own_error
        self._auth = auth
        self._running = 0
        self._client = httpx.AsyncClient(
            headers=headers,
            auth=auth,
            timeout=httpx.Timeout(settings.timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.max_at_once),
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    async def post(self, path: str, body: bytes) -> httpx.Response:
        """An answer with status 200, if need be after some tries.

        Raises Overloaded above the bound, EndpointError without an answer, else the error that the answer is.
        """
        if self._running >= self._settings.max_at_once:
            raise Overloaded(f"{self._running} requests are at work already. Try again shortly.")
        request = self._client.build_request(
            "POST", self._url + path, content=body, headers={"Content-Type": "application/json"}
        )
        self._running += 1
        try:
            return await self._persist(request)
        finally:
            self._running -= 1

    async def get(self, path: str) -> httpx.Response:
        """An answer with status 200, asked for once; errors as of `post`."""
        return await self._ask(self._client.build_request("GET", self._url + path))

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._auth is not None:
            await self._auth.aclose()

    async def _persist(self, request: httpx.Request) -> httpx.Response:
        pause_s = _FIRST_PAUSE_S
        for _ in range(self._settings.retries):
            try:
                return await self._ask(request)
            except _SAFE_TO_TRY_AGAIN:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        return await self._ask(request)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        began = time.perf_counter()
        outcome = "broken"
        try:
            response = await self._send(request)
            outcome = str(response.status_code)
        except EndpointRefused:
            outcome = "refused"
            raise
        except EndpointTimeout:
            outcome = "timeout"
            raise
        finally:
            self._observer.try_ended(outcome, time.perf_counter() - began)
        if response.status_code != httpx.codes.OK:
            raise self._error(response)
        return response

    def _error(self, response: httpx.Response) -> OvembedError:
        status, message = response.status_code, wire.parse_error(response.content).message or response.reason_phrase
        said = f"{self.base} answered {status}: {message}"
        return self._own_error(status, message) or _MEANINGS.get(status, EndpointError)(said)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        with translated(self.base, hint="It may be starting; try again shortly."):
            return await self._client.send(request)
