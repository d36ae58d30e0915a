"""The answers of several workers as that of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Metric

from ovembed.errors import ModelUnready
from ovembed.server.reload import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ovembed.errors import OvembedError

# Everything else is added up: counters, buckets, what waits, what runs, memory, open files.
_OTHERWISE: Mapping[str, Callable[[float, float], float]] = {
    "ovembed_model_info": max,
    "ovembed_model_healthy": min,
    "ovembed_queue_oldest_seconds": max,
    "process_start_time_seconds": min,
    "process_max_fds": min,
}


def merge_families(reports: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Each sample once, over all reports."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for report in reports for family in report):
        families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        found = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()))
            combine = _OTHERWISE.get(sample.name, float.__add__)
            found[key] = combine(found[key], float(sample.value)) if key in found else float(sample.value)
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
    return list(families.values())


def counted(families: Iterable[Metric]) -> list[Metric]:
    """What has happened, without what was so only while the worker lived."""
    return [family for family in families if family.type in ("counter", "histogram")]


def missing(workers: int) -> list[Metric]:
    """Tells that what is so only while a worker lives is not told of so many."""
    family = Metric(
        "ovembed_workers_missing", "Workers that do not answer now: only what they counted is told.", "gauge"
    )
    family.add_sample(family.name, {}, workers)
    return [family]


def merge_outcomes(outcomes: Sequence[Outcome]) -> Outcome:
    """What several have is told once."""
    changes = dict.fromkeys(change for outcome in outcomes for change in outcome.changes)
    problems = {str(problem): problem for outcome in outcomes for problem in outcome.problems}
    return Outcome(tuple(changes), tuple(problems.values()))


def first_problem(problems: Sequence[OvembedError | None], missing: int) -> OvembedError | None:
    """`missing`: workers that did not answer."""
    told = next((problem for problem in problems if problem is not None), None)
    if told is None and missing:
        return ModelUnready(f"{missing} of the workers {'does' if missing == 1 else 'do'} not answer now.")
    return told
