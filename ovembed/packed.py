"""An engine whose texts share the rows of its batches, where the model then still gives its vectors."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ovembed import admission, vectors
from ovembed.engine import OpenVINOEngine
from ovembed.errors import OvembedError
from ovembed.repository import LEAST_COSINE, read_golden

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.protocols import Engine
    from ovembed.repository import Golden, ModelEntry

# Enough to share rows, and few enough for the start of a server.
_PACKED_TEXTS = 12


def load_engine(entry: ModelEntry, settings: EngineSettings, golden: Golden | None = None) -> OpenVINOEngine:
    """Packing texts, if they get their vectors that way too; a model may be built as none of those known.

    Whoever has the model's `golden` texts spares them being read again. Raises EngineError when it cannot be loaded.
    """
    with contextlib.suppress(OvembedError):
        engine = OpenVINOEngine.load(entry, replace(settings, packing=True))
        if not engine.packs or _gives(engine, golden or read_golden(entry.folder)):
            return engine
    return OpenVINOEngine.load(entry, settings)


def _gives(engine: Engine, golden: Golden) -> bool:
    """The vectors recorded at export, to the shortest texts when they run together."""
    shortest = sorted(range(len(golden.texts)), key=lambda text: len(golden.texts[text]))[:_PACKED_TEXTS]
    tokens = admission.admit_texts(engine, [golden.texts[text] for text in shortest], truncate=True).tokens
    return vectors.all_near(engine.run(tokens), golden.exported[shortest], LEAST_COSINE)
