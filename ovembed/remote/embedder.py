"""RemoteEmbedder: any endpoint, or several that serve the same model, as an Embedder."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import httpx
import numpy as np

from ovembed import admission
from ovembed.errors import EndpointError, InputError, TextError
from ovembed.protocols import Embedder, Embeddings, Portion
from ovembed.remote.delivery import Delivery
from ovembed.remote.endpoint import Endpoint
from ovembed.remote.http import CONNECT_TIMEOUT_S, http_client
from ovembed.remote.pool import Pool
from ovembed.remote.settings import RemoteSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovembed.spec import Prompts


class RemoteEmbedder(Embedder):
    """An Embedder over HTTP. `model` may be left out where a server serves exactly one.

    Long lists are sent in several requests, and shared out where there are several URLs; their servers must give
    vectors of one space. One that is gone is left out for a while as long as another is there. `on_trouble` is told of
    everything that is tried again. A `client` given here is not closed.
    """

    def __init__(
        self,
        *urls: str,
        model: str | None = None,
        api_key: str | None = None,
        client: httpx.Client | None = None,
        settings: RemoteSettings | None = None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises EndpointError and ModelNotFound as `Endpoint.open` does, when no endpoint can be opened."""
        self._settings = settings or RemoteSettings()
        self._clients: list[httpx.Client] = []
        self._endpoints = [
            Endpoint(url, client or self._client(url, api_key), self._settings, model=model) for url in urls
        ]
        self._pool = Pool(self._endpoints, self._settings, on_trouble)
        self._space: tuple[int, str | None] | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        admission.check_texts(texts)
        portions: list[Portion] = []
        faults: list[TextError] = []
        for arrived in self.embed_each(texts, truncate=truncate, strict=True):
            if isinstance(arrived, TextError):
                faults.append(arrived)
            else:
                portions.append(arrived)
        if faults:
            raise min(faults, key=lambda fault: fault.position)
        portions.sort(key=lambda portion: portion.positions[0])
        return joined([portion.embeddings for portion in portions], self.model)

    def embed_each(
        self, texts: Sequence[str], *, truncate: bool = False, strict: bool = False
    ) -> Iterator[Portion | TextError]:
        """A portion is what one request brought. Only those that were refused are sent again, without what is at fault.

        A text that nobody can embed is not even sent.
        """
        faults = _faults(texts)
        at_fault = {fault.position for fault in faults}
        end = faults[0].position if faults and strict else len(texts)
        sent = [position for position in range(end) if position not in at_fault]
        delivery = Delivery(self._pool, [texts[position] for position in sent], truncate=truncate, strict=strict)
        return chain(faults[:1] if strict else faults, self._delivered(delivery, sent))

    def _delivered(self, delivery: Delivery, sent: Sequence[int]) -> Iterator[Portion | TextError]:
        """With the positions that the texts have among all, of which those at `sent` are delivered."""
        for arrived in delivery:
            if isinstance(arrived, TextError):
                yield type(arrived)(sent[arrived.position], arrived.problem)
            else:
                self._check_space(arrived.embeddings)
                yield Portion([sent[position] for position in arrived.positions], arrived.embeddings)

    @property
    def model(self) -> str:
        return next((endpoint.model for endpoint in self._endpoints if endpoint.model), "")

    def prompt(self, name: str | None = None) -> str:
        """As a server of ovembed tells it; others do not: then empty, and InputError for a name."""
        prompts = self._prompts()
        if prompts is not None:
            return prompts.named(name)
        if name is not None:
            base = self._endpoints[0].base
            raise InputError(f"{base} does not tell its prompts; give the text itself with --prompt.")
        return ""

    def query_prompt(self) -> str:
        prompts = self._prompts()
        return "" if prompts is None else prompts.for_query

    def close(self) -> None:
        """Nothing more is sent; what is under way is not waited for."""
        self._pool.close()
        for client in self._clients:
            client.close()

    def _client(self, url: str, api_key: str | None) -> httpx.Client:
        timeout = httpx.Timeout(self._settings.timeout_s, connect=CONNECT_TIMEOUT_S)
        client = http_client(url, api_key=api_key, timeout=timeout)
        self._clients.append(client)
        return client

    def _open(self) -> None:
        failed: list[tuple[Endpoint, EndpointError]] = []
        for endpoint in self._endpoints:
            try:
                endpoint.open()
            except EndpointError as error:
                failed.append((endpoint, error))
        if len(failed) == len(self._endpoints):
            raise failed[0][1]
        for endpoint, problem in failed:
            self._pool.leave_alone(endpoint, problem)

    def _prompts(self) -> Prompts | None:
        """Of the first endpoint that answers. Raises the first EndpointError when none does."""
        failed: list[EndpointError] = []
        for endpoint in self._endpoints:
            try:
                return endpoint.prompts()
            except EndpointError as error:
                failed.append(error)
        raise failed[0]

    def _check_space(self, result: Embeddings) -> None:
        """Raises EndpointError when vectors differ in length or space from those before."""
        space = (result.vectors.shape[1], result.fingerprint)
        self._space = self._space or space
        if space != self._space:
            places = ", ".join(endpoint.base for endpoint in self._endpoints)
            problem = "changed its model" if len(self._endpoints) == 1 else "serve different models"
            raise EndpointError(f"{places} {problem}: {_say(self._space)} became {_say(space)}.")


def _faults(texts: Sequence[str]) -> Sequence[TextError]:
    """Of texts that nobody can embed, in order."""
    try:
        admission.check_texts(texts)
    except TextError as error:
        return (error, *error.others)
    return ()


def _say(space: tuple[int, str | None]) -> str:
    dimensions, fingerprint = space
    return f"{dimensions} dimensions of {fingerprint or 'unknown fingerprint'}"


def joined(parts: Sequence[Embeddings], model: str) -> Embeddings:
    """The parts of one list, in order."""
    if not parts:
        return Embeddings(np.empty((0, 0), dtype=np.float32), (), 0, (), model, None)
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
