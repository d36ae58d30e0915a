"""One model of a repository: its folder, and what ovembed.json in it says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ovembed.errors import RepositoryError
from ovembed.repository import golden, layout, versions
from ovembed.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ovembed.repository.versions import Layout, OvmsVersion
    from ovembed.spec import Precision

FILE_NAME = "ovembed.json"
TOKENIZER_NAME = "tokenizer.json"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """One setting of the recipe, and the file, flag or default it came from."""

    setting: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near the exported model's vectors are to its source's, over the probe texts.

    `mean`, `first_percentile` and `minimum` are of the cosine between each text's two vectors. `neighbours` is the
    share of each text's ten nearest other texts that are the same ten by both models. `batch_minimum` is the lowest
    cosine between a text embedded alone and in a batch with others.
    """

    texts: int
    mean: float
    first_percentile: float
    minimum: float
    neighbours: float
    batch_minimum: float


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Speed and size, as measured where the model was exported.

    `tokens_per_s` is of the compiled encoder on full batches; `speedup` and `size_ratio` compare with fp32 (above 1
    is faster, below 1 is smaller), None where the source was no fp32 model.
    """

    tokens_per_s: float
    speedup: float | None
    size_ratio: float | None


@dataclass(frozen=True, slots=True)
class Tried:
    """A precision that stood for choice, and what was measured of it; or the problem that ruled it out."""

    precision: Precision
    fidelity: Fidelity | None = None
    efficiency: Efficiency | None = None
    problem: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fidelity, efficiency = data["fidelity"], data["efficiency"]
        return cls(
            precision=data["precision"],
            fidelity=fidelity and Fidelity(**fidelity),
            efficiency=efficiency and Efficiency(**efficiency),
            problem=data["problem"],
        )


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in a folder. `name` is what clients call it.

    `pooled` tells that the encoder pools its tokens itself, into (batch, 1, dimensions), `fast_tokenizer` that there is
    a tokenizer.json; `ovms_version` is the OVMS
    that the folder is laid out for. `tried` are the precisions it was chosen from, where there was a choice.
    """

    name: str
    folder: Path
    spec: ModelSpec
    pooled: bool
    fast_tokenizer: bool
    ovms_version: str
    decisions: tuple[Decision, ...]
    fidelity: Fidelity
    efficiency: Efficiency
    tried: tuple[Tried, ...]
    versions: dict[str, str]

    @property
    def model_path(self) -> Path:
        return layout.encoder(self.folder, self._layout)

    @property
    def tokenizer_path(self) -> Path:
        """tokenizer.json; where the source had none, the tokenizer of OVMS."""
        return self.folder / TOKENIZER_NAME if self.fast_tokenizer else layout.tokenizer(self.folder, self._layout)

    @property
    def served_by(self) -> tuple[OvmsVersion, ...]:
        """The releases of OVMS that serve the folder as it is, the oldest first."""
        return versions.serving(versions.ovms_version(self.ovms_version))

    @property
    def files(self) -> tuple[Path, ...]:
        """All that decides how the model is served."""
        weights = self.model_path.with_suffix(".bin")
        return (self.folder / FILE_NAME, self.folder / golden.FILE_NAME, self.model_path, weights, self.tokenizer_path)

    @property
    def _layout(self) -> Layout:
        return versions.ovms_version(self.ovms_version).layout

    @property
    def size_bytes(self) -> int:
        """Size of the encoder, weights included. Raises RepositoryError when a file of it is missing."""
        try:
            return sum(path.stat().st_size for path in (self.model_path, self.model_path.with_suffix(".bin")))
        except OSError as error:
            raise RepositoryError(f"{error.filename} cannot be read: {error.strerror}. Export it again.") from error

    def to_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "name": self.name,
            "fingerprint": self.spec.fingerprint,
            "spec": self.spec.to_json(),
            "pooled": self.pooled,
            "fast_tokenizer": self.fast_tokenizer,
            "ovms_version": self.ovms_version,
            "decisions": [asdict(decision) for decision in self.decisions],
            "fidelity": asdict(self.fidelity),
            "efficiency": asdict(self.efficiency),
            "tried": [asdict(tried) for tried in self.tried],
            "versions": self.versions,
        }


def write(entry: ModelEntry) -> None:
    text = json.dumps(entry.to_json(), indent=2, ensure_ascii=False) + "\n"
    (entry.folder / FILE_NAME).write_text(text, encoding="utf-8")


def is_model(folder: Path) -> bool:
    return (folder / FILE_NAME).exists()


def read(folder: Path) -> ModelEntry:
    """Raises RepositoryError when the folder holds no model that ovembed exported."""
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > _FORMAT:
            raise RepositoryError(f"{path} was written by a newer ovembed. Update: pip install -U ovembed")
        if content["format"] < _FORMAT:
            raise RepositoryError(f"{path} was written by an older ovembed. Export the model again.")
        return ModelEntry(
            name=content["name"],
            folder=folder,
            spec=ModelSpec.from_json(content["spec"]),
            pooled=content["pooled"],
            fast_tokenizer=content["fast_tokenizer"],
            ovms_version=content["ovms_version"],
            decisions=tuple(Decision(**decision) for decision in content["decisions"]),
            fidelity=Fidelity(**content["fidelity"]),
            efficiency=Efficiency(**content["efficiency"]),
            tried=tuple(map(Tried.from_json, content["tried"])),
            versions=content["versions"],
        )
    except FileNotFoundError as error:
        raise RepositoryError(
            f"{folder} holds no exported model ({FILE_NAME} is missing). Make one: ovembed export SOURCE"
        ) from error
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise RepositoryError(f"{path} is damaged ({error}). Export the model again.") from error
    except (KeyError, TypeError) as error:
        raise RepositoryError(f"{path} is damaged ({error!r}). Export the model again.") from error
