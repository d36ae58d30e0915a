"""How a model is shown: what was decided and from where, and how near its vectors are to the source's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import Efficiency, Fidelity, ModelEntry

FIDELITY_COLUMNS = ["Cosine mean", "1st percentile", "Lowest", "Neighbours", "Alone/batch", "Speed", "Size"]

Table = tuple[list[str], list[list[str]]]


def entry_json(entry: ModelEntry) -> dict[str, Any]:
    """What `--json` says of a model: everything in ovembed.json, where it is, and its size."""
    return entry.to_json() | {"folder": str(entry.folder), "size_bytes": entry.size_bytes}


def tables(entry: ModelEntry) -> Iterator[Table]:
    """The decisions; the fidelity report; the precisions that stood for choice."""
    yield (
        ["Setting", "Value", "From"],
        [[decision.setting, decision.value, decision.origin] for decision in entry.decisions],
    )
    if not entry.tried:
        yield FIDELITY_COLUMNS, [measured(entry.fidelity, entry.efficiency)]
        return
    rows = []
    for tried in entry.tried:
        if tried.fidelity is None or tried.efficiency is None:
            rows.append([tried.precision, f"failed: {tried.problem}"])
        else:
            mark = " (taken)" if tried.precision == entry.spec.precision else ""
            rows.append([f"{tried.precision}{mark}", *measured(tried.fidelity, tried.efficiency)])
    yield ["Precision", *FIDELITY_COLUMNS], rows


def measured(fidelity: Fidelity, efficiency: Efficiency) -> list[str]:
    """The cells under FIDELITY_COLUMNS."""
    return [
        f"{fidelity.mean:.5f}",
        f"{fidelity.first_percentile:.5f}",
        f"{fidelity.minimum:.5f}",
        f"{fidelity.neighbours:.1%}",
        f"{fidelity.batch_minimum:.5f}",
        f"{efficiency.speedup:.2f}x fp32",
        f"{efficiency.size_ratio:.0%} of fp32",
    ]


def summary(entry: ModelEntry) -> str:
    return (
        f"{entry.spec.precision}, {entry.size_bytes / 1e6:.1f} MB, {entry.efficiency.tokens_per_s:,.0f} tokens/s here, "
        f"measured on {entry.fidelity.texts} texts. Fingerprint {entry.spec.fingerprint}."
    )
