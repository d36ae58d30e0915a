"""Load, warm up, bind, serve until told to stop, drain."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ovembed.http.descriptors import lift_limit
from ovembed.http.run import run
from ovembed.server import workers
from ovembed.server.reload import Reloader, follow, logged
from ovembed.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.server.selection import Selection
    from ovembed.server.settings import ServeSettings


def serve(selection: Selection, settings: ServeSettings, *, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve these models until SIGINT or SIGTERM, then finish what runs and return.

    They are loaded again as the repository changes: told by its configuration file, by a request, or by SIGHUP.

    `on_ready` gets the server's URL once it accepts connections. Raises InputError for keys or certificates that
    cannot be used, ModelNotFound, RepositoryError or EngineError when a model cannot be loaded, ServerError when the
    address cannot be bound, or this process may open too few files.
    """
    lift_limit()
    if settings.tls is not None:
        settings.tls.check()
    if settings.workers > 1:
        workers.supervise(selection, settings, on_ready=on_ready)
    else:
        _serve_alone(selection, settings, on_ready)


def _serve_alone(selection: Selection, settings: ServeSettings, on_ready: Callable[[str], None]) -> None:
    service = Service(settings)
    reloader = Reloader(selection, service)
    reload = logged(reloader.reload)
    try:
        reloader.load()
        run(
            service.app(reload=reload),
            service.traffic,
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            patience_s=settings.limits.body_s,
            tls=settings.tls,
            on_ready=on_ready,
            beside=functools.partial(follow, selection.config_path, reload),
        )
    finally:
        service.close()
