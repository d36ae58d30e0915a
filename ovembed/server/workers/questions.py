"""What a supervisor and its workers ask each other; each class tells its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ovembed.errors import OvembedError
    from ovembed.server.selection import Selection
    from ovembed.server.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to serve; `settings` tell its own share of threads, streams and queue."""

    selection: Selection
    settings: ServeSettings


class GetJob:
    """By a worker that has started; a Job."""


class Loaded:
    """By a worker that can serve; answered when all can."""


@dataclass(frozen=True, slots=True)
class Failed:
    """By a worker that cannot serve and ends; None."""

    error: OvembedError


class Listening:
    """By a worker that accepts connections; None."""


class GetFamilies:
    """Of a worker; its metrics, a list of prometheus_client's Metric."""


@dataclass(frozen=True, slots=True)
class GetProblem:
    """Of a worker; why it, or this model of its, is not ready: an OvembedError, or None."""

    model: str | None


class GetOutcome:
    """Of a worker; the Outcome of a reload."""


OfOne: TypeAlias = GetFamilies | GetProblem | GetOutcome


@dataclass(frozen=True, slots=True)
class OfAll:
    """By a worker; the answers of all, and None for each that has none to give."""

    question: OfOne
