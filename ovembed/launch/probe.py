"""The questions that are put to a server, each with its answer as a check."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from ovembed import remote
from ovembed.errors import EndpointError, OvembedError
from ovembed.launch.kinds import Kind, identify
from ovembed.repository.subconfig import servables_of

if TYPE_CHECKING:
    from ovembed.launch.reference import Reference
    from ovembed.protocols import Embeddings

# How servers without a route say so: 404 by most, 400 by OVMS, 405 by some gateways.
_NOT_OFFERED = {400, 404, 405}

_NO_SUCH_MODEL = "Model with requested name is not found"  # OVMS's words
_ASK_ONCE = remote.RemoteSettings(retries=0)


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the server; `ok` is None where it does not offer an answer."""

    name: str
    ok: bool | None
    detail: str


class Probe:
    """Over one connection. `reachable` comes first: the kind of server decides what the others ask."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self._base = remote.api_base(url)
        self._root = str(httpx.URL(self._base).copy_with(path="/")).rstrip("/")
        self._names_api = httpx.URL(url).path not in ("", "/")
        self._kind = Kind("unknown")

    def reachable(self) -> Check:
        try:
            self._kind = identify(self._get)
        except EndpointError as error:
            return Check("reachable", ok=False, detail=str(error))
        if not self._names_api:
            self._base = self._root + self._kind.api
        return Check("reachable", ok=True, detail=self._kind.name)

    def live(self) -> Check:
        return self._route("live", self._kind.live)

    def ready(self) -> Check:
        return self._route("ready", self._kind.ready)

    def models(self, wanted: str | None) -> tuple[list[str], Check]:
        """The models to check, out of those that the server lists."""
        if self._kind.one_model is not None:
            name = wanted or self._kind.one_model
            return [name], Check("models", ok=None, detail="one, which answers to any name")
        try:
            listed = self._listed()
        except EndpointError as error:
            return [], Check("models", ok=False, detail=str(error))
        if listed is None:
            return _unlisted(wanted)
        if wanted is not None and wanted not in listed:
            return [], Check("models", ok=False, detail=f"'{wanted}' is not among {', '.join(listed) or 'none'}")
        return ([wanted] if wanted else listed), Check("models", ok=bool(listed), detail=", ".join(listed) or "none")

    def model(self, name: str) -> list[Check]:
        """Whether it is loaded, and the two that a classic OVMS graph stands on: it calls itself ready without them."""
        if not self._kind.per_model:
            return [Check(f"model {name}", ok=None, detail="not offered by this server")]
        checks = [self._model_ready(name)]
        if self._kind.parts:
            parts = servables_of(name)
            checks += [self._model_ready(part) for part in (parts.tokenizer, parts.encoder) if self._knows(part)]
        return checks

    def embedding(self, model: str) -> Check:
        name = f"embedding by {model}"
        began = time.perf_counter()
        try:
            result = self._embed(model, "Is all well?")
        except OvembedError as error:
            return Check(name, ok=False, detail=str(error))
        took_ms = (time.perf_counter() - began) * 1000
        length = float(np.linalg.norm(result.vectors[0]))
        if not length > 0:
            return Check(name, ok=False, detail=f"a vector of length {length}")
        return Check(name, ok=True, detail=f"{result.vectors.shape[1]} dimensions, {took_ms:.0f} ms")

    def vectors(self, model: str, reference: Reference) -> Check:
        name = f"vectors of {model}"
        try:
            detail = reference.compare(model, lambda text: self._embed(model, text))
        except OvembedError as error:
            return Check(name, ok=False, detail=str(error))
        return Check(name, ok=True, detail=detail)

    def _route(self, name: str, path: str | None) -> Check:
        """One that answers with a status alone."""
        if path is None:
            return Check(name, ok=None, detail="not offered by this server")
        try:
            status = self._get(path).status_code
        except EndpointError as error:
            return Check(name, ok=False, detail=str(error))
        if status in _NOT_OFFERED:
            return Check(name, ok=None, detail="not offered by this server")
        return Check(name, ok=status == httpx.codes.OK, detail=f"HTTP {status}")

    def _model_ready(self, model: str) -> Check:
        name = f"model {model}"
        try:
            status = self._get(f"/v2/models/{quote(model, safe='')}/ready").status_code
        except EndpointError as error:
            return Check(name, ok=False, detail=str(error))
        return Check(name, ok=status == httpx.codes.OK, detail=f"HTTP {status}")

    def _knows(self, model: str) -> bool:
        """One that failed to load is known; OVMS says then that its version is not loaded yet."""
        try:
            response = self._get(f"/v2/models/{quote(model, safe='')}/ready")
        except EndpointError:
            return True
        return response.is_success or _NO_SUCH_MODEL not in response.text

    def _listed(self) -> list[str] | None:
        """By OVMS's configuration (its list lacks what failed to load), else by OpenAI's list; None for neither."""
        if self._kind.parts and (configured := self._configured()) is not None:
            return configured
        response = self._request(f"{self._base}/models")
        if response.is_error and response.status_code not in _NOT_OFFERED:
            raise EndpointError(f"HTTP {response.status_code}")
        try:
            return [str(item["id"]) for item in orjson.loads(response.content)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def _configured(self) -> list[str] | None:
        """The graphs; the models that classic ones stand on are there too, and what was taken out again."""
        try:
            statuses = orjson.loads(self._get("/v1/config").content)
            there = [name for name, told in statuses.items() if told["model_version_status"][-1]["state"] != "END"]
        except (orjson.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError):
            return None
        parts = {part for name in there for part in (servables_of(name).tokenizer, servables_of(name).encoder)}
        return [name for name in there if name not in parts]

    def _embed(self, model: str, text: str) -> Embeddings:
        embedder = remote.RemoteEmbedder(self._base, model=model, client=self._client, settings=_ASK_ONCE)
        return embedder.embed([text], truncate=True)

    def _get(self, path: str) -> httpx.Response:
        return self._request(self._root + path)

    def _request(self, url: str) -> httpx.Response:
        with remote.translated(self._root):
            return self._client.get(url)


def _unlisted(wanted: str | None) -> tuple[list[str], Check]:
    """A server that embeds nothing has not been shown to work, so then the model must be named."""
    if wanted is None:
        return [], Check("models", ok=False, detail="not listed by this server; name one with --model")
    return [wanted], Check("models", ok=None, detail="not listed by this server")
