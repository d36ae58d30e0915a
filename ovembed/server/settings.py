"""How a server is run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from ovembed.engine import EngineSettings
from ovembed.http.requests import Limits
from ovembed.serving.batcher import DEFAULT_QUEUED_TOKENS

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.http.tls import Tls

_OPENAI_REQUEST_TOKENS = 300_000  # the most that OpenAI takes in one request


def default_queued_tokens(workers: int) -> int:
    """Enough for every worker to take as large a request as OpenAI does."""
    return max(DEFAULT_QUEUED_TOKENS, workers * _OPENAI_REQUEST_TOKENS)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`port` 0 takes a free one.

    max_batch_tokens: None takes what suits each model here.
    max_queued_tokens: of each model, in all workers together; a request goes to one worker, and has to fit there.
    grace_s: how long requests may go on after the server is told to stop.
    workers: processes that share the port and what `engine` may use.
    api_key_file: None lets everybody in. cors_origins: web pages of these may ask; "*" is all.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    max_batch_tokens: int | None = None
    max_queued_tokens: int = DEFAULT_QUEUED_TOKENS
    grace_s: float = 30
    limits: Limits = field(default_factory=Limits)
    api_key_file: Path | None = None
    tls: Tls | None = None
    cors_origins: tuple[str, ...] = ()
    engine: EngineSettings = field(default_factory=EngineSettings)
    workers: int = 1
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False

    def split(self) -> list[Self]:
        """The share of each worker."""
        queued = max(1, self.max_queued_tokens // self.workers)
        return [replace(self, engine=engine, max_queued_tokens=queued) for engine in self.engine.split(self.workers)]
