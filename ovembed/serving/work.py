"""How a model is run on this machine: as it was asked for, else as tuning found best here, else by rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed import cores
from ovembed.repository import read_tuning
from ovembed.serving.batcher import BATCH_TOKENS_OF_A_THREAD

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.repository import ModelEntry


@dataclass(frozen=True, slots=True)
class Work:
    """`engine` has its streams and threads decided, `tuned` if by what was found here before; batch_tokens: padded
    tokens of a batch.
    """

    engine: EngineSettings
    batch_tokens: int
    tuned: bool = False

    def __str__(self) -> str:
        streams, threads = self.engine.resolve()
        origin = " as tuned" if self.tuned else ""
        shares = f"{_counted(streams, 'stream')} on {_counted(threads, 'thread')}{origin}"
        return f"{shares}, batches of up to {self.batch_tokens} tokens"


def work_for(entry: ModelEntry, settings: EngineSettings, max_batch_tokens: int | None = None) -> Work:
    """Streams or threads that were asked for are another machine than the one that was tuned.

    Raises RepositoryError for a damaged tuning file.
    """
    tuning = None
    if settings.streams is None and settings.threads is None:
        tuning = read_tuning(entry.folder, cores.describe_machine())
    if tuning is None:
        streams, threads = settings.resolve()
        batch_tokens = BATCH_TOKENS_OF_A_THREAD * max(1, threads // streams)
    else:
        streams, threads, batch_tokens = tuning.streams, tuning.threads, tuning.batch_tokens
    decided = replace(settings, streams=streams, threads=threads)
    return Work(decided, max_batch_tokens or batch_tokens, tuned=tuning is not None)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
