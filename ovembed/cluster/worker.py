"""One worker of the cluster: it loads the model once, and turns blocks of texts into parts."""

from __future__ import annotations

import pickle
import platform
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed import engine, targets
from ovembed.cluster.blocks import Block, Embedded, Task, read_texts, write_result
from ovembed.corpus import StoredVectors, embed_corpus, encode_vectors
from ovembed.corpus.account import EXAMPLES
from ovembed.corpus.formats import parquet
from ovembed.corpus.rows import Standing
from ovembed.corpus.writing import whole
from ovembed.errors import ClusterError, InputError, OvembedError
from ovembed.repository import is_model, read_model

if TYPE_CHECKING:
    from ovembed.corpus.rows import Block as Rows
    from ovembed.protocols import Embedder


class Worker:
    """Ray makes one for each share of the cluster's cores, and another in its place when it is killed.

    A block whose worker was killed is given to another, so its part may be written twice, with the same rows.
    """

    def __init__(self, task: Task, threads: int) -> None:
        self._task = task
        self._model = Path(task.model)
        self._threads = threads

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pickled `Block`s in a column `block`, to as many pickled `Embedded`, or errors, in a column `result`."""
        results = [pickle.dumps(self._try(pickle.loads(block))) for block in batch["block"]]  # noqa: S301  by us
        return {"result": np.array(results, dtype=object)}

    def _try(self, block: Block) -> Embedded | OvembedError:
        """An error that is raised here would be tried again by Ray, and told with its stack."""
        try:
            return self._embed(block)
        except OvembedError as error:
            return error

    @cached_property
    def _embedder(self) -> Embedder:
        if not is_model(self._model):
            raise ClusterError(f"{platform.node()} does not see {self._model}. Put the models where all machines do.")
        settings = engine.EngineSettings(threads=self._threads, cache_dir=engine.default_cache_dir())
        return targets.load_embedder(replace(read_model(self._model), name=self._task.name), settings)

    def _embed(self, block: Block) -> Embedded:
        collected, repeated = _Collected(), 0
        try:
            repeated = embed_corpus(read_texts(block), self._embedder, collected, self._task.options).repeated
        except InputError:
            if self._task.options.strict or not collected.standing.refused:
                raise
        standing = collected.standing
        rows = [row for part in collected.parts for row in part.rows]
        space = None if standing.space is None else replace(standing.space, limit=self._task.limit)
        if space is not None:
            vectors = np.concatenate([part.vectors for part in collected.parts if part.rows])
            with whole(block.part) as file:
                parquet.write(StoredVectors(space, encode_vectors(vectors, space), rows), file)
        embedded = Embedded(
            number=block.number,
            key=block.key,
            space=space,
            rows=standing.rows,
            tokens=standing.tokens,
            truncated=standing.truncated,
            truncated_places=tuple(row.item.place for row in rows if row.truncated)[:EXAMPLES],
            refused=tuple(refused for part in collected.parts for refused in part.refused),
            repeated=repeated,
        )
        with whole(block.result) as file:
            write_result(embedded, file)
        return embedded


@dataclass
class _Collected:
    """A Writer that keeps the rows of a block."""

    standing: Standing = field(default_factory=Standing)
    parts: list[Rows] = field(default_factory=list)

    def write(self, block: Rows, standing: Standing) -> None:
        self.parts.append(block)
        self.standing = standing

    def finish(self) -> None:
        pass
