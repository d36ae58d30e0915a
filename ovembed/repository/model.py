"""One model of a repository: its folder, and what ovembed.json in it says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ovembed.errors import RepositoryError
from ovembed.spec import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "ovembed.json"
MODEL_NAME = "openvino_model.xml"
TOKENIZER_NAME = "tokenizer.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """One setting of the recipe, and the file, flag or default it came from."""

    setting: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Cosine of the exported model's vectors to the source model's, over the probe texts."""

    texts: int
    mean: float
    minimum: float


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in a folder. `name` is what clients call it; `pooled` if the model pools its tokens itself."""

    name: str
    folder: Path
    spec: ModelSpec
    decisions: tuple[Decision, ...]
    fidelity: Fidelity
    versions: dict[str, str]
    pooled: bool = False

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_NAME

    @property
    def tokenizer_path(self) -> Path:
        return self.folder / TOKENIZER_NAME

    @property
    def size_bytes(self) -> int:
        """Size of the encoder, weights included."""
        return sum(path.stat().st_size for path in self.folder.glob("openvino_model.*"))

    def to_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "name": self.name,
            "fingerprint": self.spec.fingerprint,
            "spec": self.spec.to_json(),
            "decisions": [asdict(decision) for decision in self.decisions],
            "fidelity": asdict(self.fidelity),
            "versions": self.versions,
            "pooled": self.pooled,
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
        return ModelEntry(
            name=content["name"],
            folder=folder,
            spec=ModelSpec.from_json(content["spec"]),
            decisions=tuple(Decision(**decision) for decision in content["decisions"]),
            fidelity=Fidelity(**content["fidelity"]),
            versions=content["versions"],
            pooled=content.get("pooled", False),
        )
    except FileNotFoundError as error:
        raise RepositoryError(
            f"{folder} holds no exported model ({FILE_NAME} is missing). Make one: ovembed export SOURCE"
        ) from error
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path} is damaged ({error!r}). Export the model again.") from error
