"""OAuth 2.0 client credentials: a token is asked for once, kept while it is good, and without one nothing is sent.

Format: RFC 6749, sections 4.4 and 5.1.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import orjson

from ovembed.errors import EndpointError, InputError
from ovembed.remote import translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# What a token lives when its endpoint does not say.
_DEFAULT_LIFE_S = 300.0
_TIMEOUT_S = 10.0
# A token that ends sooner than this is not begun with: the request takes time too.
_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    token_url: str
    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.token_url!r}, {self.client_id!r})"


def credentials(token_url: str | None, client_id: str | None, client_secret: str | None) -> Credentials | None:
    """None where none of the three is given. Raises InputError when one is missing: nothing may go out without."""
    if token_url and client_id and client_secret:
        return Credentials(token_url, client_id, client_secret)
    if token_url or client_id or client_secret:
        raise InputError("OAuth needs all three of TOKEN_URL, CLIENTID and CLIENT_SECRET, or none.")
    return None


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    good_until: float


class ClientCredentials(httpx.Auth):
    """Puts a bearer token on each request, a new one when the old has expired or the answer is 401.

    The token endpoint is asked through the proxies of the environment. Raises EndpointError when it gives no token.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._token: _Token | None = None
        self._fetching: asyncio.Task[_Token] | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._good_token()
        request.headers["Authorization"] = f"Bearer {token.value}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            if self._token is token:
                self._token = None
            request.headers["Authorization"] = f"Bearer {(await self._good_token()).value}"
            yield request

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _good_token(self) -> _Token:
        """Requests at the same time share one fetch, and its failure."""
        if self._token is None or self._token.good_until <= time.monotonic():
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch())
            return await asyncio.shield(self._fetching)
        return self._token

    async def _fetch(self) -> _Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
        }
        url = self._credentials.token_url
        asked_at = time.monotonic()
        with translated(url, hint="Check the URL of the token endpoint."):
            response = await self._client.post(url, data=form)
        if response.status_code != httpx.codes.OK:
            raise EndpointError(f"{url} answered {response.status_code} instead of giving a token.")
        try:
            fields = orjson.loads(response.content)
            life_s = float(fields.get("expires_in") or _DEFAULT_LIFE_S)
            value = _non_empty(fields["access_token"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EndpointError(f"{url} gave no token that can be used.") from error
        # Here, and not where it is awaited: whoever comes in between must find it.
        self._token = _Token(value, asked_at + life_s - min(_MARGIN_S, life_s / 2))
        return self._token


def _non_empty(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no token")
    return value
