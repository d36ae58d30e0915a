"""URLs, clients, and httpx's exceptions as ours."""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import TYPE_CHECKING

import httpx

from ovembed.errors import EndpointLost, EndpointRefused, EndpointTimeout, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_TIMEOUT_S = 5.0
_TIMEOUT = httpx.Timeout(120.0, connect=CONNECT_TIMEOUT_S)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_VERSION = re.compile(r"/v\d+$")


def api_base(url: str) -> str:
    """The folder of `embeddings` and `models`: `/v1` unless the URL names a path of its own.

    Raises InputError for what is no http URL.
    """
    parsed = parse_url(url)
    path = parsed.path.rstrip("/") or "/v1"
    return str(parsed.copy_with(path=path.removesuffix("/embeddings"), query=None, fragment=None))


def parse_url(url: str) -> httpx.URL:
    """Raises InputError for what is no http URL."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"'{url}' is no URL: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InputError(f"'{url}' is no http:// or https:// URL.")
    return parsed


def in_words(url: str) -> str:
    """As it may be shown: without the user and the password it may hold. Raises InputError for what is no http URL."""
    return str(parse_url(url).copy_with(userinfo=b""))


def server_root(base: str) -> str:
    """What the routes beside the API stand under: the base without its version."""
    return _VERSION.sub("", base)


def http_client(
    url: str, *, api_key: str | None = None, timeout: httpx.Timeout = _TIMEOUT, verify: bool = True
) -> httpx.Client:
    """A client for that server; proxies of the environment are not asked for this machine itself.

    `verify` False takes any certificate: for a server that was started here, and is asked here.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(headers=headers, timeout=timeout, verify=verify, trust_env=httpx.URL(url).host not in _LOOPBACK)


@contextlib.contextmanager
def translated(url: str, *, hint: str = "Start a server: ovembed serve") -> Iterator[None]:
    """httpx's exceptions as EndpointRefused, which ends with the hint, EndpointTimeout and EndpointLost.

    Where TLS fails somebody does answer: then EndpointRefused tells why it failed.
    """
    place = in_words(url)
    try:
        yield
    except httpx.ConnectError as error:
        if _is_of_tls(error):
            raise no_tls(place, error) from error
        raise EndpointRefused(f"Nothing answers at {place}. {hint}") from error
    except httpx.TimeoutException as error:
        raise EndpointTimeout(f"{place} did not answer in time.") from error
    except httpx.HTTPError as error:
        raise EndpointLost(
            f"{place} broke off ({str(error) or type(error).__name__}). Is the server still up?"
        ) from error


def no_tls(place: str, error: Exception) -> EndpointRefused:
    """Somebody answers there, but TLS fails."""
    return EndpointRefused(f"There is no TLS connection to {place}: {error}.")


def _is_of_tls(error: BaseException | None) -> bool:
    """httpcore raises its errors `from None`, so the first one is found by the contexts."""
    return error is not None and (isinstance(error, ssl.SSLError) or _is_of_tls(error.__context__))
