"""One endpoint: the name of its model, its dialect and its limits, learned from what it answers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from ovembed.errors import EndpointBusy, EndpointError, EndpointTimeout, ModelNotFound, TextError
from ovembed.remote.answers import NOT_OFFERED, TooMuch, failure
from ovembed.remote.dialects import TEI, TEI_ROUTE, OpenAI
from ovembed.remote.http import api_base, in_words, server_root, translated
from ovembed.remote.limits import Limits
from ovembed.remote.pace import Pace
from ovembed.spec import Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Embeddings
    from ovembed.remote.dialects import Dialect
    from ovembed.remote.settings import RemoteSettings

_NO_SUCH_ROUTE = {404, 405}
_OVMS_UNKNOWN = "Mediapipe graph definition"  # also while it still loads
_HARMLESS = "a"


class Endpoint:
    """Sends requests, one at a time in each thread; `answered` tells that it ever gave an answer.

    `base` is its URL in words: what the URL says of a user stays out of them.
    """

    def __init__(self, url: str, client: httpx.Client, settings: RemoteSettings, *, model: str | None = None) -> None:
        """Raises InputError for what is no http URL."""
        base = api_base(url)
        self._api = base.removesuffix(TEI_ROUTE)
        self.base = in_words(self._api)
        self.model = model
        self._limits = Limits()
        self._pace = Pace(settings, self._limits)
        self.answered = False
        self._client = client
        self._root = server_root(self._api)
        self._dialect: Dialect = TEI(self._root) if base.endswith(TEI_ROUTE) else OpenAI()
        self._told_limits = False

    def open(self) -> None:
        """Finds out the model's name where none was given.

        Raises ModelNotFound when the endpoint does not list exactly one, EndpointError when it does not answer.
        """
        if self.model is None:
            self.model = self._only_model()

    def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """By one request. Raises what `failure` makes of an answer, and what `translated` makes of none."""
        self.open()
        assert self.model is not None, "This is a bug."  # noqa: S101
        body = self._dialect.render(texts, model=self.model, truncate=truncate)
        began = time.monotonic()
        try:
            with translated(self.base):
                response = self._client.post(
                    self._dialect.route(self._api), content=body, headers={"Content-Type": "application/json"}
                )
        except EndpointTimeout:
            self._pace.note(texts, time.monotonic() - began)
            raise
        self.answered = True
        if response.status_code == httpx.codes.OK:
            self._pace.note(texts, time.monotonic() - began)
            return self._dialect.parse(response, expected=len(texts), model=self.model)
        if response.status_code in _NO_SUCH_ROUTE:
            if isinstance(self._dialect, OpenAI) and self._info() is not None and not self._lists_models():
                self._dialect = TEI(self._root)
                return self.embed(texts, truncate=truncate)
            if _OVMS_UNKNOWN in response.text and self._still_loads():
                raise EndpointBusy(f"{self.base} has no model '{self.model}' yet; it is still loading.")
        raise failure(response, self.base)

    def prompts(self) -> Prompts | None:
        """Those of the model, where the list of models tells them, as ours does."""
        self.open()
        for item in self._models() or []:
            if item["id"] == self.model and isinstance(item.get("prompts"), dict):
                return Prompts(item["prompts"], item.get("default_prompt"))
        return None

    @property
    def limits(self) -> Limits:
        """The most that one request is to hold now."""
        return self._pace.within(self._limits)

    def tell_limits(self, texts: int) -> bool:
        """Whether the endpoint names a limit that so many texts are above, as TEI does."""
        if not self._told_limits:
            self._told_limits = True
            most = (self._info() or {}).get("max_client_batch_size")
            if isinstance(most, int) and most > 0:
                self._limits = replace(self._limits, texts=min(most, self._limits.texts))
        return texts > self._limits.texts

    def lower_limits(self, texts: Sequence[str], *, too_large: bool) -> None:
        """So many texts were refused and their halves were not."""
        self._limits = self._limits.below(texts, too_large=too_large)

    def verdict(self, refusal: TooMuch, *, truncate: bool) -> Exception:
        """The error for a single text that was refused: the text's, if another text is taken."""
        if refusal.text_error is not None:
            return refusal.text_error
        if not refusal.too_large:
            try:
                self.embed([_HARMLESS], truncate=truncate)
            except TooMuch:
                return EndpointError(str(refusal))
        return TextError(0, f"{refusal}")

    def _only_model(self) -> str:
        models = self._models()
        if models is None:
            info = self._info()
            if info is None:
                raise ModelNotFound(f"{self.base} does not list its models. Name one with --model.")
            return str(info["model_id"])
        names = [str(item["id"]) for item in models]
        if not names:
            raise ModelNotFound(f"{self.base} serves no model. If it is still loading: ovembed health URL --wait 60")
        if len(names) > 1:
            raise ModelNotFound(
                f"{self.base} serves {len(names)} models ({', '.join(names)}). Choose one with --model."
            )
        return names[0]

    def _models(self) -> list[dict[str, Any]] | None:
        """OpenAI's list of models; None where it is not offered."""
        response = self._get(f"{self._api}/models")
        if response.is_error and response.status_code not in NOT_OFFERED:
            raise failure(response, self.base)
        try:
            models = orjson.loads(response.content)["data"]
            return models if all(item["id"] for item in models) else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def _lists_models(self) -> bool:
        return self._models() is not None

    def _info(self) -> dict[str, Any] | None:
        """What TEI tells about itself; None for other servers."""
        response = self._get(f"{self._root}/info")
        try:
            info = orjson.loads(response.content)
            return info if response.is_success and {"model_id", "max_client_batch_size"} <= info.keys() else None
        except (orjson.JSONDecodeError, AttributeError):
            return None

    def _still_loads(self) -> bool:
        return not self._get(f"{self._root}/v2/health/ready").is_success

    def _get(self, url: str) -> httpx.Response:
        with translated(self.base):
            response = self._client.get(url)
        self.answered = True
        return response
