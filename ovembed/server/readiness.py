"""Whether requests should be sent here: not while draining, and not while a model gives wrong vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ovembed.errors import ModelUnready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ovembed.http.guards import Traffic


class Readiness(Protocol):
    """Whether requests should be sent here."""

    async def check(self, model: str | None = None) -> None:
        """Of one model, or of all. Raises ShuttingDown while draining, ModelUnready naming those that do not work."""


class OwnReadiness:
    """Of the server and of each of its models; `checks` tells, by model, whether it works now."""

    def __init__(self, traffic: Traffic, checks: Mapping[str, Callable[[], Awaitable[bool]]]) -> None:
        self._traffic = traffic
        self._checks = checks

    async def check(self, model: str | None = None) -> None:
        """Of one model, or of all. Raises ShuttingDown while draining, ModelUnready naming those that do not work."""
        self._traffic.check()
        names = list(self._checks) if model is None else [model]
        failing = [name for name in names if not await self._works(name)]
        if failing:
            raise ModelUnready(f"{', '.join(failing)}: a batch failed, and the golden text does not embed right since.")

    async def _works(self, name: str) -> bool:
        """A model that came or went with a reload, in this process or another, does not."""
        try:
            check = self._checks[name]
        except KeyError:
            return False
        return await check()
