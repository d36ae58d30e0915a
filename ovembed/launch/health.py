"""Whether a server really works: it answers, says it is ready, has its models, and embeds, as recorded if asked to."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ovembed import remote
from ovembed.launch.probe import Check, Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.launch.reference import Reference

_TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks, in the order they were made; the server is healthy when none failed."""

    url: str
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        return all(check.ok is not False for check in self.checks)

    @property
    def problem(self) -> str:
        """The first check that failed, in words; empty for a healthy server."""
        return next((f"{check.name}: {check.detail}" for check in self.checks if check.ok is False), "")

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def check_health(
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    reference: Reference | None = None,
    verify: bool = True,
) -> HealthReport:
    """Ask once. `model` narrows the check to one of the server's models; `reference` has the vectors it must give.

    `verify` False takes any certificate. Raises InputError for no URL.
    """
    base = remote.api_base(url)
    with remote.http_client(base, api_key=api_key, timeout=_TIMEOUT, verify=verify) as client:
        probe = Probe(client, url)
        checks = [probe.reachable()]
        if checks[0].ok:
            checks.append(probe.live())
        if all(check.ok is not False for check in checks):
            checks.append(probe.ready())
            names, listed = probe.models(model)
            checks.append(listed)
            for name in names:
                checks += probe.model(name)
                checks.append(probe.embedding(name))
                if reference is not None and checks[-1].ok:
                    checks.append(probe.vectors(name, reference))
        return HealthReport(remote.in_words(url), tuple(checks))


def wait_healthy(
    url: str,
    wait_s: float,
    *,
    model: str | None = None,
    api_key: str | None = None,
    reference: Reference | None = None,
    on_wait: Callable[[HealthReport], None] = lambda _: None,
) -> HealthReport:
    """Ask again, ever less often, until the server is healthy or `wait_s` seconds have passed; the last report."""
    deadline = time.monotonic() + wait_s
    pause = _FIRST_PAUSE_S
    while True:
        report = check_health(url, model=model, api_key=api_key, reference=reference)
        remaining = deadline - time.monotonic()
        if report.healthy or remaining <= 0:
            return report
        on_wait(report)
        time.sleep(min(pause, remaining))
        pause = min(pause * 2, _LONGEST_PAUSE_S)
