"""Load, warm up, bind, serve until told to stop, drain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.http.run import run
from ovembed.server.service import Service
from ovembed.serving.loading import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ovembed.repository import ModelEntry
    from ovembed.server.settings import ServeSettings


def serve(
    entries: Sequence[ModelEntry], settings: ServeSettings, *, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve these models until SIGINT or SIGTERM, then finish what runs and return.

    `on_ready` gets the server's URL once it accepts connections. Raises InputError for keys or certificates that
    cannot be used, RepositoryError or EngineError when a model cannot be loaded, ServerError when the address
    cannot be bound.
    """
    if settings.tls is not None:
        settings.tls.check()
    service = Service(settings)
    try:
        for entry in entries:
            service.add(load_model(entry, settings.engine))
        run(
            service.app(),
            service.traffic,
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            patience_s=settings.limits.body_s,
            tls=settings.tls,
            on_ready=on_ready,
        )
    finally:
        service.close()
