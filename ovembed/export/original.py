"""What an export starts from: a model of transformers, or an OpenVINO model that was made before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ovembed import hub
from ovembed.errors import ExportError, OvembedError
from ovembed.export import adopt
from ovembed.export.quiet import quiet
from ovembed.export.words import in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.export.request import ExportRequest
    from ovembed.hub import Recipe, SourceModel
    from ovembed.protocols import Vectors
    from ovembed.spec import ModelSpec, Precision


class Original(Protocol):
    """A source model, with what its files say."""

    @property
    def source(self) -> SourceModel: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def precision(self) -> Precision:
        """That of the weights as they are; fp32 and fp16 ones can still be quantized."""

    @property
    def pooled(self) -> bool:
        """It pools its tokens itself, into (batch, 1, dimensions) or the same at every token."""

    def write_tokenizer(self, target: Path, *, max_tokens: int) -> None:
        """openvino_tokenizer.xml, and where it was made of them tokenizer.json and tokenizer_config.json."""

    def write_encoder(self, target: Path, *, max_tokens: int) -> None:
        """openvino_model.xml and config.json."""

    def vectors(self, spec: ModelSpec, texts: Sequence[str]) -> Vectors:
        """What it makes of the texts by itself: float32 (n, dimensions)."""


def open_original(source: SourceModel, request: ExportRequest) -> Original:
    """Weights of transformers where there are any, else an OpenVINO model. Raises ModelNotFound for neither."""
    adopted = adopt.find(source, request)
    if adopted is not None:
        return adopted
    recipe = hub.read_recipe(source.folder, pooling=request.pooling)
    return TransformersModel(source, recipe, trust=request.trust_remote_code)


@dataclass(frozen=True, slots=True)
class TransformersModel:
    """Weights and a config of transformers, with the modules of sentence-transformers."""

    source: SourceModel
    recipe: Recipe
    trust: bool
    precision: Precision = "fp32"
    pooled: bool = False

    @property
    def weights_sha256(self) -> str:
        return self.recipe.weights_sha256()

    def write_tokenizer(self, target: Path, *, max_tokens: int) -> None:
        from ovembed.export.convert import convert_tokenizer

        with quiet():
            convert_tokenizer(self.recipe, target, max_tokens=max_tokens, trust_remote_code=self.trust)

    def write_encoder(self, target: Path, *, max_tokens: int) -> None:
        from ovembed.export.convert import convert_encoder

        with quiet():
            convert_encoder(self.recipe, target, max_tokens=max_tokens, trust_remote_code=self.trust)

    def vectors(self, spec: ModelSpec, texts: Sequence[str]) -> Vectors:
        from ovembed.export.reference import source_vectors

        with quiet():
            try:
                return source_vectors(self.recipe, spec, texts, trust=self.trust)
            except (OSError, OvembedError):
                raise
            except Exception as error:
                raise ExportError(f"{self.recipe.encoder_folder} cannot be run: {in_one_line(error)}") from error
