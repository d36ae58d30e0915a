"""The source model's own vectors, computed by transformers in fp32: what every export is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed import vectors
from ovembed.errors import ExportError
from ovembed.export.heads import read_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.hub import DenseLayer, Recipe
    from ovembed.protocols import Vectors
    from ovembed.spec import ModelSpec, Pooling


def source_vectors(recipe: Recipe, spec: ModelSpec, texts: Sequence[str], *, trust: bool) -> Vectors:
    """What the source model makes of the texts: float32 (n, dimensions), normalized if the spec says so.

    Independent of our engine on purpose: transformers' tokenizer, PyTorch, pooling of its own.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(recipe.encoder_folder, trust_remote_code=trust)
    model = _load_source(recipe.encoder_folder, trust=trust)
    dense = torch.nn.Sequential(*(_load_dense(layer) for layer in recipe.dense))
    rows: list[Vectors] = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(
                text.lower() if recipe.lowercase else text,
                truncation=True,
                max_length=spec.max_tokens,
                return_tensors="pt",
            )
            rows.append(dense(_pool(model(**encoded).last_hidden_state[0], spec.pooling)).numpy())
    result = np.stack(rows).astype(np.float32)
    if not np.isfinite(result).all():
        raise ExportError(f"{spec.source} itself gives vectors that are not finite. Download it again.")
    return vectors.normalize(result) if spec.normalize else result


def _load_source(folder: Path, *, trust: bool) -> Any:
    """transformers makes up the weights that a file lacks, the same ones each time where it can: refuse those.

    The pooler's are no loss, nothing here reads its output.
    """
    import torch
    from transformers import AutoModel

    model, loading = AutoModel.from_pretrained(
        folder, trust_remote_code=trust, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ExportError(
            f"The weights in {folder} are not complete: {missing[0]} is missing"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. Download the model again."
        )
    return model.eval()


def _load_dense(layer: DenseLayer) -> Any:
    import torch

    activations = {
        "identity": torch.nn.Identity,
        "tanh": torch.nn.Tanh,
        "relu": torch.nn.ReLU,
        "gelu": torch.nn.GELU,
    }
    linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias)
    linear.load_state_dict(read_weights(layer))
    return torch.nn.Sequential(linear, activations[layer.activation]())


def _pool(states: Any, pooling: Pooling) -> Any:
    """One text alone has no padding: every state of the tensor (tokens, dimensions) is attended."""
    match pooling:
        case "cls":
            return states[0]
        case "mean":
            return states.mean(dim=0)
        case "last":
            return states[-1]
