"""RemoteEmbedder: any endpoint that speaks OpenAI's embeddings protocol."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import httpx
import numpy as np
import orjson

from ovembed import admission, wire
from ovembed.errors import (
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    InputError,
    ModelNotFound,
    TextError,
    TextTooLong,
)
from ovembed.protocols import Embedder, Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEXTS_PER_REQUEST = 256
_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_INPUT_POSITION = re.compile(r"input\[(\d+)\]")


def api_base(url: str) -> str:
    """The folder of `embeddings` and `models`: `/v1` unless the URL names a path of its own.

    Raises InputError for what is no http URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"'{url}' is no URL: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InputError(f"'{url}' is no http:// or https:// URL.")
    path = parsed.path.rstrip("/") or "/v1"
    return str(parsed.copy_with(path=path.removesuffix("/embeddings"), query=None, fragment=None))


def http_client(url: str, *, api_key: str | None = None, timeout: httpx.Timeout = _TIMEOUT) -> httpx.Client:
    """A client for that server; proxies of the environment are not asked for this machine itself."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(headers=headers, timeout=timeout, trust_env=httpx.URL(url).host not in _LOOPBACK)


class RemoteEmbedder(Embedder):
    """An Embedder over HTTP. `model` may be left out where the server serves exactly one.

    Long lists are sent in several requests. A `client` given here is not closed.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        self.base = api_base(url)
        self._owns_client = client is None
        self._client = client or http_client(self.base, api_key=api_key)
        try:
            self.model = model or self._only_model()
        except BaseException:
            self.close()
            raise

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        admission.check_texts(texts)
        parts: list[Embeddings] = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            try:
                parts.append(self._request(texts[start : start + TEXTS_PER_REQUEST], truncate=truncate))
            except TextError as error:
                raise type(error)(start + error.position, error.problem) from error
        return _joined(parts, self.model)

    def prompt(self, name: str | None = None) -> str:
        """An endpoint does not tell its prompts: empty, and InputError for a name."""
        if name is not None:
            raise InputError(f"{self.base} does not tell its prompts; give the text itself with --prompt.")
        return ""

    def close(self) -> None:
        if self._owns_client:
            self._client.close()

    def _request(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        body = wire.render_request(texts, model=self.model, truncate=truncate)
        with translated(self.base):
            response = self._client.post(
                f"{self.base}/embeddings", content=body, headers={"Content-Type": "application/json"}
            )
        if response.status_code != httpx.codes.OK:
            raise self._error(response)
        return wire.parse_response(response.content, expected=len(texts))

    def _error(self, response: httpx.Response) -> Exception:
        reply = wire.parse_error(response.content)
        position = _INPUT_POSITION.fullmatch(reply.param or "")
        if position is not None:
            problem = reply.message.removeprefix(f"Input {position[1]}: ")
            kind = TextTooLong if reply.code == "context_length_exceeded" else TextError
            return kind(int(position[1]), problem)
        return EndpointError(f"{self.base} answered {response.status_code}: {reply.message or response.reason_phrase}")

    def _only_model(self) -> str:
        with translated(self.base):
            response = self._client.get(f"{self.base}/models")
        if response.is_error and response.status_code != httpx.codes.NOT_FOUND:
            raise self._error(response)
        try:
            names = [str(item["id"]) for item in orjson.loads(response.content)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ModelNotFound(f"{self.base} does not list its models. Name one with --model.") from error
        if not names:
            raise ModelNotFound(f"{self.base} serves no model.")
        if len(names) > 1:
            raise ModelNotFound(
                f"{self.base} serves {len(names)} models ({', '.join(names)}). Choose one with --model."
            )
        return names[0]


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """httpx's exceptions as EndpointRefused, EndpointTimeout and EndpointError."""
    try:
        yield
    except httpx.ConnectError as error:
        raise EndpointRefused(f"Nothing answers at {url}. Start a server: ovembed serve") from error
    except httpx.TimeoutException as error:
        raise EndpointTimeout(f"{url} did not answer in time.") from error
    except httpx.HTTPError as error:
        raise EndpointError(
            f"{url} broke off ({str(error) or type(error).__name__}). Is the server still up?"
        ) from error


def _joined(parts: Sequence[Embeddings], model: str) -> Embeddings:
    """The parts of one list, in order. Raises EndpointError when their vectors differ in length or space."""
    if not parts:
        return Embeddings(np.empty((0, 0), dtype=np.float32), (), 0, (), model, None)
    if len({(part.vectors.shape[1], part.fingerprint) for part in parts}) > 1:
        raise EndpointError("The endpoint changed its model between two requests.")
    counts = [part.tokens for part in parts if part.tokens is not None]
    starts = np.cumsum([0, *(len(part.vectors) for part in parts)])
    return Embeddings(
        vectors=np.concatenate([part.vectors for part in parts]),
        tokens=tuple(count for tokens in counts for count in tokens) if len(counts) == len(parts) else None,
        total_tokens=sum(part.total_tokens for part in parts),
        truncated=tuple(
            int(start) + position for start, part in zip(starts, parts, strict=False) for position in part.truncated
        ),
        model=parts[0].model or model,
        fingerprint=parts[0].fingerprint,
    )
