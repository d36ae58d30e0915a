"""An exported model, loaded and warm."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed import admission, vectors
from ovembed.engine import OpenVINOEngine
from ovembed.errors import EngineError
from ovembed.repository import read_golden
from ovembed.serving.batcher import BATCH_TOKENS_OF_A_THREAD
from ovembed.serving.condition import GoldenText
from ovembed.serving.work import work_for
from ovembed.verification import LEAST_COSINE

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.protocols import Engine
    from ovembed.repository import Golden, ModelEntry

# Enough to share rows, and few enough for the start of a server.
_PACKED_TEXTS = 12


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
    """Raises RepositoryError or EngineError when it cannot be read, loaded or run."""
    golden = read_golden(entry.folder)
    work = work_for(entry, settings)
    engine = load_engine(entry, work.engine, golden)
    engine.warm_up()
    [tokens] = admission.admit_texts(engine, golden.texts[:1], truncate=True).tokens
    created = int(entry.folder.stat().st_mtime)
    return LoadedModel(entry.name, engine, GoldenText(tokens, golden.exported[0]), created, work.batch_tokens)


def load_engine(entry: ModelEntry, settings: EngineSettings, golden: Golden) -> OpenVINOEngine:
    """Packing texts, if they get their vectors that way too; a model may be built as none of those known.

    Raises EngineError when it cannot be loaded.
    """
    with contextlib.suppress(EngineError):
        engine = OpenVINOEngine.load(entry, replace(settings, packing=True))
        if not engine.packs or _gives(engine, golden):
            return engine
    return OpenVINOEngine.load(entry, settings)


def _gives(engine: Engine, golden: Golden) -> bool:
    """The vectors recorded at export, to the shortest texts when they run together."""
    shortest = sorted(range(len(golden.texts)), key=lambda text: len(golden.texts[text]))[:_PACKED_TEXTS]
    tokens = admission.admit_texts(engine, [golden.texts[text] for text in shortest], truncate=True).tokens
    rows, recorded = engine.run(tokens), golden.exported[shortest]
    return rows.shape == recorded.shape and bool(vectors.cosine(rows, recorded).min() >= LEAST_COSINE)
