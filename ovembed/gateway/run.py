"""The gateway over a backend, from the first connection to the last reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from ovembed.errors import OvembedError
from ovembed.gateway.app import create_app, error_response
from ovembed.http.descriptors import lift_limit
from ovembed.http.guards import Guards, Traffic
from ovembed.http.keys import KeyFile
from ovembed.http.observed import Observed
from ovembed.http.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from ovembed.gateway.backend import Backend
    from ovembed.gateway.metrics import Metrics
    from ovembed.gateway.settings import GatewaySettings

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


def serve(
    backend: Backend,
    metrics: Metrics,
    settings: GatewaySettings,
    *,
    on_ready: Callable[[str], None] = lambda _: None,
    on_backend: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer until SIGINT or SIGTERM, then finish what runs, close the backend and return.

    `on_ready` gets the gateway's URL once it accepts connections; it does so whether or not the backend is ready, of
    which `on_backend` hears in words. Raises InputError for a key file that cannot be used, ServerError when the
    address cannot be bound, or this process may open too few files.
    """
    lift_limit()
    traffic = Traffic()
    watching: list[asyncio.Task[None]] = []

    def started(url: str) -> None:
        on_ready(url)
        watching.append(asyncio.get_running_loop().create_task(_watch(backend, on_backend)))

    async def stopped() -> None:
        watching[0].cancel()
        await backend.aclose()

    run(
        guarded_app(backend, metrics, settings, traffic),
        traffic,
        host=settings.host,
        port=settings.port,
        grace_s=settings.grace_s,
        patience_s=settings.limits.body_s,
        on_ready=started,
        on_stop=stopped,
    )


async def _watch(backend: Backend, tell: Callable[[str], None]) -> None:
    """Until the backend is ready for the first time; a change of the reason is told."""
    told, pause_s = "", _FIRST_PAUSE_S
    while True:
        try:
            await backend.check_ready()
        except OvembedError as error:
            if str(error) != told:
                told = str(error)
                tell(f"Not ready: {told}")
        else:
            tell("The backend is ready.")
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def guarded_app(backend: Backend, metrics: Metrics, settings: GatewaySettings, traffic: Traffic) -> ASGIApp:
    """The application behind its guards. Raises InputError for a key file that cannot be used."""
    keys = KeyFile(settings.api_key_file) if settings.api_key_file else None
    app: ASGIApp = create_app(backend, metrics, traffic, settings.limits)
    app = Guards(app, traffic, keys, render=error_response)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
        )
    return Observed(app, metrics)
