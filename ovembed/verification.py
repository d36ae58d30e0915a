"""Whether a model still gives the vectors that were recorded when it was exported."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ovembed import engine, vectors
from ovembed.errors import RepositoryError
from ovembed.local import LocalEmbedder
from ovembed.repository import LEAST_COSINE, read_golden

if TYPE_CHECKING:
    from ovembed.repository import ModelEntry


@dataclass(frozen=True, slots=True)
class Verification:
    """Cosines over the golden texts: the lowest to the vectors recorded at export, the mean to the source's."""

    texts: int
    lowest_to_recorded: float
    mean_to_source: float

    @property
    def passed(self) -> bool:
        return self.lowest_to_recorded >= LEAST_COSINE

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


def verify_model(entry: ModelEntry) -> Verification:
    """Embed the golden texts again, each alone, in this process.

    Raises RepositoryError or EngineError for a model that cannot be read or run.
    """
    golden = read_golden(entry.folder)
    if golden.exported.shape[1] != entry.spec.dimensions:
        raise RepositoryError(f"The vectors in {entry.folder}/golden.npz are another model's. Export the model again.")
    loaded = engine.OpenVINOEngine.load(entry)
    with LocalEmbedder(loaded, entry.name, max_batch_tokens=1) as embedder:
        now = embedder.embed(golden.texts, truncate=True).vectors
    return Verification(
        texts=len(golden.texts),
        lowest_to_recorded=float(vectors.cosine(now, golden.exported).min()),
        mean_to_source=float(vectors.cosine(now, golden.source).mean()),
    )
