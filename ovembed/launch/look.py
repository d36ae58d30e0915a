"""How a server that was started here is doing now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ovembed.errors import OvembedError
from ovembed.launch.health import check_health

if TYPE_CHECKING:
    from ovembed.launch.state import Server


@dataclass(frozen=True, slots=True)
class Look:
    """`state` is unknown, and `problem` says why, where it could not be asked for."""

    server: Server
    state: Literal["running", "ended", "unknown"]
    problem: str = ""
    uptime_s: float | None = None

    @property
    def healthy(self) -> bool:
        return self.state == "running" and not self.problem

    @property
    def summary(self) -> str:
        if self.healthy:
            return "healthy"
        return f"{self.state}: {self.problem}" if self.problem else self.state

    def to_json(self) -> dict[str, Any]:
        server = self.server
        return {
            "name": server.name,
            "backend": server.backend,
            "url": server.url,
            "models": list(server.models),
            "state": self.state,
            "healthy": self.healthy,
            "problem": self.problem or None,
            "started_at": server.started_at,
            "uptime_s": self.uptime_s,
        }


def look_at(server: Server) -> Look:
    """Whatever is wrong is told, not raised."""
    try:
        running = server.home.running()
    except OvembedError as error:
        return Look(server, "unknown", problem=str(error))
    if not running:
        return Look(server, "ended")
    if server.url is None:
        return Look(server, "running", problem="it is loading", uptime_s=_age(server))
    reports = [check_health(server.url, model=model, api_key=server.api_key, verify=False) for model in server.models]
    problem = next((report.problem for report in reports if not report.healthy), "")
    return Look(server, "running", problem, _age(server))


def _age(server: Server) -> float:
    return max(0.0, time.time() - server.started_at)
