"""From a backend to a server that is ready, or to an error with its last words and nothing left behind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ovembed.errors import QUOTE, NotReady, ServerError
from ovembed.launch.backends import URL_FILE
from ovembed.launch.health import check_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovembed.launch.backends import Start
    from ovembed.launch.state import Server, Servers

_LAST_LINES = 10
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_GRACE_S = 5.0


def start_server(
    start: Start,
    name: str,
    servers: Servers,
    *,
    wait_s: float | None = None,
    on_started: Callable[[Server], None] = lambda _: None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Server:
    """Start it under that name, and return once it is ready. `wait_s` None waits as long as it lives.

    `on_started` hears when it runs, `on_wait` what it is waited for. Raises InputError for what cannot be started,
    ServerError when it fails or ends, NotReady after `wait_s`; then it is stopped, and nothing of it stays.
    """
    with servers.claim(name) as folder:
        server = start(name, folder)
        try:
            servers.save(server)
            on_started(server)
            server = _wait_ready(server, folder, wait_s, on_wait)
            servers.save(server)
        except (ServerError, NotReady) as error:
            try:
                words = server.home.last_words(_LAST_LINES)
            finally:
                server.stop(_GRACE_S)
            raise type(error)(f"{error}{_quoted(words)}") from error
        except BaseException:
            server.stop(_GRACE_S)
            raise
    return server


def _wait_ready(server: Server, folder: Path, wait_s: float | None, on_wait: Callable[[str], None]) -> Server:
    deadline = None if wait_s is None else time.monotonic() + wait_s
    pause = _FIRST_PAUSE_S
    while True:
        server, problem = _ask(server, folder)
        if server.home.has_ended():
            raise ServerError(f"The server '{server.name}' has ended before it was ready.")
        if not problem:
            return server
        if deadline is not None and time.monotonic() >= deadline:
            raise NotReady(
                f"The server '{server.name}' was not ready after {wait_s:g} s ({problem}). Give it more with --wait."
            )
        on_wait(problem)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _ask(server: Server, folder: Path) -> tuple[Server, str]:
    """The server, its URL known if it can be, and what it is waited for; nothing once it is ready.

    Our own says where it is when it is ready, and not before.
    """
    if server.url is None:
        url_file = folder / URL_FILE
        if not url_file.exists():
            return server, "it is loading"
        return replace(server, url=url_file.read_text(encoding="utf-8").strip()), ""
    for model in server.models:
        report = check_health(server.url, model=model, api_key=server.api_key)
        if not report.healthy:
            return server, report.problem
    return server, ""


def _quoted(words: str) -> str:
    lines = "".join(QUOTE + line for line in words.splitlines())
    return f" Its last words:{lines}" if lines else " It has said nothing."
