"""How a model is shown: what was decided and from where, and how near its vectors are to the source's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import Efficiency, Fidelity, ModelEntry, Tried

Table = tuple[list[str], list[list[str]]]


def entry_json(entry: ModelEntry) -> dict[str, Any]:
    """What `--json` says of a model: everything in ovembed.json, where it is, and its size."""
    return entry.to_json() | {"folder": str(entry.folder), "size_bytes": entry.size_bytes}


def tables(entry: ModelEntry) -> Iterator[Table]:
    """The decisions; the fidelity report; the precisions that stood for choice, where there was one."""
    yield (
        ["Setting", "Value", "From"],
        [[decision.setting, decision.value, decision.origin] for decision in entry.decisions],
    )
    yield ["Measured", "Result"], _measured(entry.fidelity, entry.efficiency)
    if entry.tried:
        chosen = entry.spec.precision
        rows = [
            [("> " if tried.precision == chosen else "  ") + tried.precision, *_cells(tried)] for tried in entry.tried
        ]
        yield ["  Tried", "Mean", "1st pct.", "Lowest", "Neighbours", "Speed", "Size"], rows


def _measured(fidelity: Fidelity, efficiency: Efficiency) -> list[list[str]]:
    cosines = (fidelity.mean, fidelity.first_percentile, fidelity.minimum)
    return [
        ["cosine to source: mean, 1st percentile, lowest", "  ".join(f"{cosine:.5f}" for cosine in cosines)],
        ["ten nearest neighbours kept", f"{fidelity.neighbours:.1%}"],
        ["lowest cosine of alone to in a batch", f"{fidelity.batch_minimum:.5f}"],
        ["vectors that are not finite", "none"],
        ["speed here, tokens/s", f"{efficiency.tokens_per_s:,.0f}"],
        ["speed and size against fp32", f"{_times(efficiency.speedup)}, {_share(efficiency.size_ratio)}"],
    ]


def _times(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio:.2f}x"


def _share(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio:.0%}"


def _cells(tried: Tried) -> list[str]:
    if tried.fidelity is None or tried.efficiency is None:
        return ["failed"]
    fidelity, efficiency = tried.fidelity, tried.efficiency
    return [
        f"{fidelity.mean:.5f}",
        f"{fidelity.first_percentile:.5f}",
        f"{fidelity.minimum:.5f}",
        f"{fidelity.neighbours:.1%}",
        _times(efficiency.speedup),
        _share(efficiency.size_ratio),
    ]


def closing(entry: ModelEntry) -> Iterator[str]:
    """The last lines of a report: which precisions failed and why, and the whole in a line."""
    for tried in entry.tried:
        if tried.problem is not None:
            yield f"{tried.precision} failed: {tried.problem}"
    yield (
        f"{entry.spec.precision}, {entry.size_bytes / 1e6:.1f} MB, measured on {entry.fidelity.texts} texts. "
        f"Fingerprint {entry.spec.fingerprint}."
    )
