"""What every part measures with: one source model, its two exports, and the sentences of the STS benchmark."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.export.quiet import quiet
from ovembed.hub import DEFAULT_MODEL, find_source

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ovembed import ModelEntry
    from ovembed.protocols import Vectors
    from ovembed.spec import Precision

STS = Path(__file__).parents[3] / "shared" / "data" / "sts-dev.tsv"


@dataclass(frozen=True)
class Material:
    """Models are exported into `repository` when first asked for, and found there the next time."""

    repository: ModelRepository

    @property
    def source(self) -> Path:
        return find_source(DEFAULT_MODEL).folder

    def model(self, precision: Precision, *, max_tokens: int | None = None) -> ModelEntry:
        name = f"minilm-{precision}" + (f"-{max_tokens}" if max_tokens else "")
        return self._exported(ExportRequest(DEFAULT_MODEL, name=name, precision=precision, max_tokens=max_tokens))

    def base_sized(self) -> ModelEntry:
        """12 layers of 768 dimensions with random weights, as int8; the default model's tokenizer."""
        if "base-int8" in self.repository.names():
            return self.repository.get("base-int8")
        with tempfile.TemporaryDirectory() as folder:
            save_random_bert(Path(folder), self.source)
            return self._exported(ExportRequest(folder, name="base-int8", precision="int8", pooling="cls"))

    def venv(self, name: str) -> Path:
        """Where another program is installed, beside the models."""
        return self.repository.folder / f".{name}"

    def _exported(self, request: ExportRequest) -> ModelEntry:
        if request.name in self.repository.names():
            return self.repository.get(request.name)
        return export_model(request, self.repository)

    @cached_property
    def _pairs(self) -> list[list[str]]:
        if not STS.exists():
            raise SystemExit(
                f"{STS} is missing. It is the dev split of the STS benchmark, and not part of this project."
            )
        return [line.split("\t") for line in STS.read_text(encoding="utf-8").splitlines()]

    @property
    def sentences(self) -> list[str]:
        """Both sentences of each pair, pair after pair."""
        return [sentence for pair in self._pairs for sentence in pair[5:7]]

    @property
    def scores(self) -> Vectors:
        """How alike people found the sentences of each pair, 0 to 5."""
        return np.array([pair[4] for pair in self._pairs], dtype=np.float32)


def save_random_bert(folder: Path, tokenizer_of: Path) -> None:
    with quiet():
        from transformers import BertConfig, BertModel

        BertModel(BertConfig(hidden_size=768, num_hidden_layers=12)).save_pretrained(folder)
    for path in tokenizer_of.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(tokenizer_of / "vocab.txt", folder)


def sentence_transformer(folder: Path, *, backend: Literal["torch", "openvino"] = "torch") -> SentenceTransformer:
    """The program to compare with, as its own defaults run it on a CPU."""
    with quiet():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), backend=backend, device="cpu")
