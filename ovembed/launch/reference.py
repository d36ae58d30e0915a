"""The vectors that were recorded when a model was exported, to hold a server's against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed import vectors
from ovembed.errors import InputError
from ovembed.repository import read_golden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ovembed.protocols import Embeddings
    from ovembed.repository import ModelEntry, ModelRepository
    from ovembed.spec import Precision

# What the lowest cosine may fall to. Processors, releases of OpenVINO and batches round int8 differently; another
# pooling, another model or damaged weights are much farther off.
LEAST_COSINE: Mapping[Precision, float] = {
    "fp32": 0.999,
    "fp16": 0.999,
    "int8": 0.99,
    "full-int8": 0.98,
    "int4": 0.98,
}
_TEXTS = 16
_SPECIAL_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """The repository to look in; `name` of the model there, None where it is served under the same."""

    repository: ModelRepository
    name: str | None = None

    def compare(self, served: str, embed: Callable[[str], Embeddings]) -> str:
        """Embed golden texts, one at a time, and say how near the vectors are.

        Raises InputError for a model that is not known here, or whose vectors are others.
        """
        entry = self._entry(served, embed)
        golden = read_golden(entry.folder)
        positions = _positions(golden.texts, entry.spec.max_tokens)
        results = [embed(golden.texts[position]) for position in positions]
        _check_space(entry, results)
        rows = np.concatenate([result.vectors for result in results])
        # A server of the source itself is as right as one of the export.
        nearest = max(
            (vectors.cosine(rows, recorded[positions]) for recorded in (golden.exported, golden.source)),
            key=lambda cosines: float(cosines.min()),
        )
        lowest, floor = float(nearest.min()), LEAST_COSINE[entry.spec.precision]
        told = f"lowest cosine {lowest:.5f} over {len(rows)} texts to '{entry.name}' ({entry.spec.precision})"
        if not lowest >= floor:
            raise InputError(f"{told}, below {floor}: another pooling, another model, or damaged weights")
        return told

    def _entry(self, served: str, embed: Callable[[str], Embeddings]) -> ModelEntry:
        """The model of that name; else the one of the fingerprint that the server tells, or the only one there is."""
        names = self.repository.names()
        if self.name is not None or served in names:
            return self.repository.get(self.name or served)
        fingerprint = embed("Which model is this?").fingerprint
        entries = self.repository.models()
        for entry in entries:
            if entry.spec.fingerprint == fingerprint or len(entries) == 1:
                return entry
        held = ", ".join(names) or "no model"
        raise InputError(f"{self.repository.folder}/ has no '{served}' to compare with ({held}); name it with --expect")


def _check_space(entry: ModelEntry, results: list[Embeddings]) -> None:
    for result in results:
        dimensions = result.vectors.shape[1]
        if dimensions != entry.spec.dimensions:
            raise InputError(f"{dimensions} dimensions, but '{entry.name}' has {entry.spec.dimensions}")
        if result.fingerprint not in (None, entry.spec.fingerprint):
            raise InputError(f"fingerprint {result.fingerprint}, but '{entry.name}' has {entry.spec.fingerprint}")


def _positions(texts: tuple[str, ...], max_tokens: int) -> list[int]:
    """Of texts that a server takes uncut, as OVMS cannot cut: no token is shorter than a byte. Else the shortest."""
    room = max_tokens - _SPECIAL_TOKENS
    fitting = [position for position, text in enumerate(texts) if len(text.encode()) <= room]
    if len(fitting) < _TEXTS:
        fitting = sorted(range(len(texts)), key=lambda position: len(texts[position].encode()))[:_TEXTS]
    return fitting[:: max(1, len(fitting) // _TEXTS)][:_TEXTS]
