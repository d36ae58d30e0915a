"""An exported model, loaded and warm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed import admission, vectors
from ovembed.errors import EngineError
from ovembed.packed import load_engine
from ovembed.repository import LEAST_COSINE, read_golden
from ovembed.serving.batcher import BATCH_TOKENS_OF_A_THREAD
from ovembed.serving.condition import GoldenText
from ovembed.serving.work import work_for

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.protocols import Engine
    from ovembed.repository import ModelEntry

_TRIED_TEXTS = 4


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """`golden` tells whether it still works, `created` when it was made (Unix time).

    batch_tokens: padded tokens of a batch that suit this machine.
    """

    name: str
    engine: Engine
    golden: GoldenText
    created: int
    batch_tokens: int = BATCH_TOKENS_OF_A_THREAD


def load_model(entry: ModelEntry, settings: EngineSettings) -> LoadedModel:
    """Raises RepositoryError or EngineError when it cannot be read, loaded or run, or gives other vectors than recorded
    at its export, since damaged weights load like any.
    """
    golden = read_golden(entry.folder)
    work = work_for(entry, settings)
    engine = load_engine(entry, work.engine, golden)
    engine.warm_up()
    tokens = admission.admit_texts(engine, golden.texts[:_TRIED_TEXTS], truncate=True).tokens
    rows = np.concatenate([engine.run([each]) for each in tokens])
    if not vectors.all_near(rows, golden.exported[:_TRIED_TEXTS], LEAST_COSINE):
        raise EngineError(
            f"{entry.folder} gives other vectors than recorded at its export: a file of it is damaged, or this "
            "processor computes them otherwise. Export the model again, here."
        )
    created = int(entry.folder.stat().st_mtime)
    return LoadedModel(entry.name, engine, GoldenText(tokens[0], golden.exported[0]), created, work.batch_tokens)
