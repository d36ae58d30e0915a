"""Closed-loop load on an embeddings endpoint: each connection sends its next request when it has its reply.

The client must cost little, for it may share the cores with the server: requests are rendered beforehand, replies
are looked through for their token count and not parsed.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import httptools
import httpx
import numpy as np
import orjson
import uvloop

from ovembed.errors import EndpointError, EndpointRefused, InputError
from ovembed.remote import api_base, in_words, no_tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKENS = re.compile(rb'"(?:prompt|total)_tokens"\s*:\s*(\d+)')
_CONNECT_S = 10.0
_PATIENCE_S = 60.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Load:
    """`seconds` are counted after `warmup_s`; `encoding` is OpenAI's encoding_format."""

    connections: int
    texts_per_request: int = 1
    encoding: Literal["float", "base64"] = "float"
    seconds: float = 5.0
    warmup_s: float = 1.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was answered within the counted seconds; latencies are of good replies, ascending.

    `refused` counts by status what was no 200; `tokens` is 0 where the endpoint does not count them.
    """

    load: Load
    seconds: float
    texts: int
    tokens: int
    latencies_s: tuple[float, ...]
    refused: dict[int, int]

    @property
    def requests_per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    @property
    def texts_per_s(self) -> float:
        return self.texts / self.seconds

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    def latency_ms(self, percentile: float) -> float:
        """NaN when there was no good reply."""
        return 1000 * float(np.percentile(self.latencies_s, percentile)) if self.latencies_s else float("nan")


def run_load(
    url: str, texts: Sequence[str], load: Load, *, model: str | None = None, api_key: str | None = None
) -> LoadResult:
    """Raises InputError for too few texts, EndpointRefused when nothing answers there, EndpointError when connections
    break or no reply comes.
    """
    target = httpx.URL(api_base(url) + "/embeddings")
    requests = [_request(target, body, api_key) for body in _bodies(texts, load, model)]
    if not requests:
        raise InputError(f"{load.texts_per_request} texts in a request are more than the {len(texts)} that there are.")
    return uvloop.run(_run(target, requests, load))


def _bodies(texts: Sequence[str], load: Load, model: str | None) -> Iterator[bytes]:
    size = load.texts_per_request
    for start in range(0, len(texts) - size + 1, size):
        wanted = texts[start] if size == 1 else texts[start : start + size]
        fields = {"input": wanted, "encoding_format": load.encoding, "truncate": True}
        yield orjson.dumps(fields | ({"model": model} if model else {}))


def _request(target: httpx.URL, body: bytes, api_key: str | None) -> bytes:
    head = [
        f"POST {target.raw_path.decode('ascii')} HTTP/1.1",
        f"Host: {target.netloc.decode('ascii')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {api_key}"] if api_key else []),
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


class _Tally:
    """Replies of all connections; those that end before `opens_at` are not counted."""

    def __init__(self, texts_per_request: int, opens_at: float, closes_at: float) -> None:
        self._texts_per_request = texts_per_request
        self._opens_at = opens_at
        self.closes_at = closes_at
        self.latencies: list[float] = []
        self.tokens = 0
        self.refused: dict[int, int] = {}

    def count(self, status: int, reply: bytes, began: float, ended: float) -> None:
        if not self._opens_at <= ended < self.closes_at:
            return
        if status != _OK:
            self.refused[status] = self.refused.get(status, 0) + 1
            return
        self.latencies.append(ended - began)
        found = _TOKENS.search(reply, max(0, len(reply) - 400)) or _TOKENS.search(reply)
        self.tokens += int(found[1]) if found else 0

    def result(self, load: Load) -> LoadResult:
        return LoadResult(
            load=load,
            seconds=self.closes_at - self._opens_at,
            texts=len(self.latencies) * self._texts_per_request,
            tokens=self.tokens,
            latencies_s=tuple(sorted(self.latencies)),
            refused=self.refused,
        )


class _Connection(asyncio.Protocol):
    """Sends one request after the other until the tally closes; `done` tells how it ended."""

    def __init__(self, requests: Iterator[bytes], tally: _Tally) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._tally = tally
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP has no other
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(EndpointError(f"The reply is no HTTP ({error})."))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._tally.count(self._parser.get_status_code(), b"".join(self._body), self._began, now)
        if now < self._tally.closes_at:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(EndpointError(f"The endpoint hung up ({exc or 'no reason given'}). Is the server still up?"))

    def close(self) -> None:
        """Its error, if any, was told by another connection."""
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()
        self._transport.abort()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._began = time.perf_counter()
        self._transport.write(next(self._requests))

    def _end(self, error: EndpointError | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        self._transport.abort()


async def _run(target: httpx.URL, requests: Sequence[bytes], load: Load) -> LoadResult:
    loop = asyncio.get_running_loop()
    opens_at = time.perf_counter() + load.warmup_s
    tally = _Tally(load.texts_per_request, opens_at, opens_at + load.seconds)
    secure = ssl.create_default_context() if target.scheme == "https" else None
    port = target.port or (443 if secure else 80)
    connections: list[_Connection] = []
    try:
        for number in range(load.connections):
            # Each begins elsewhere in the texts.
            start = number * len(requests) // load.connections
            own = itertools.cycle([*requests[start:], *requests[:start]])
            _, connection = await asyncio.wait_for(
                loop.create_connection(lambda own=own: _Connection(own, tally), target.host, port, ssl=secure),
                _CONNECT_S,
            )
            connections.append(connection)
        everybody = asyncio.gather(*(connection.done for connection in connections))
        await asyncio.wait_for(everybody, load.warmup_s + load.seconds + _PATIENCE_S)
    except TimeoutError as error:
        raise EndpointError(f"{in_words(str(target))} does not answer.") from error
    except ssl.SSLError as error:
        raise no_tls(in_words(str(target)), error) from error
    except OSError as error:
        raise EndpointRefused(f"Nothing answers at {in_words(str(target))}. Start a server: ovembed serve") from error
    finally:
        for connection in connections:
            connection.close()
    return tally.result(load)
