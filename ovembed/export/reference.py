"""The source model's own vectors, computed by transformers in fp32: what every export is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed import vectors
from ovembed.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.protocols import Vectors
    from ovembed.spec import ModelSpec, Pooling


def source_vectors(folder: Path, spec: ModelSpec, texts: Sequence[str], *, lowercase: bool, trust: bool) -> Vectors:
    """What the source model makes of the texts: float32 (n, dimensions), normalized if the spec says so.

    Independent of our engine on purpose: transformers' tokenizer, PyTorch, pooling of its own.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    model = _load_source(folder, trust=trust)
    rows: list[Vectors] = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(
                text.lower() if lowercase else text,
                truncation=True,
                max_length=spec.max_tokens,
                return_tensors="pt",
            )
            rows.append(_pool(model(**encoded).last_hidden_state[0].numpy(), spec.pooling))
    result = np.stack(rows).astype(np.float32)
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


def _pool(states: Vectors, pooling: Pooling) -> Vectors:
    """One text alone has no padding: every state (tokens, dimensions) is attended."""
    match pooling:
        case "cls":
            row = states[0]
        case "mean":
            row = states.mean(axis=0)
        case "last":
            row = states[-1]
    return np.asarray(row, dtype=np.float32)
