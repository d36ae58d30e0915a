"""An embed job that kills itself: python -m tests.resume_child INPUT OUTPUT NUMBER [URL]

The model runs in this process, or behind the URL, which is asked for one thing after the other. Its process dies by
SIGKILL at the NUMBERth time that something is to reach the disk for good; at 0 never.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed import corpus
from ovembed.corpus import job
from ovembed.local import LocalEmbedder
from ovembed.remote import RemoteEmbedder, RemoteSettings
from tests.fakes import FakeEngine, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.protocols import Embedder

CHUNK_TEXTS = 64


def main() -> None:
    source, output, number, *urls = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
    job.CHUNK_TEXTS = CHUNK_TEXTS
    die_at(number)
    kind = corpus.format_of(output)
    with (
        corpus.open_writer(output, kind, io.BytesIO(), resume=True) as writer,
        opened(urls) as embedder,
    ):
        corpus.embed_corpus(corpus.Inputs([source], io.BytesIO()).entries(), embedder, writer, corpus.Options())


def opened(urls: list[str]) -> Embedder:
    if urls:
        return RemoteEmbedder(*urls, settings=RemoteSettings(concurrency=1))
    return LocalEmbedder(FakeEngine(make_spec(max_tokens=40), streams=2), "fake")


def die_at(number: int) -> None:
    left = number

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return wrapped

    for name in ("fsync", "replace", "truncate", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main()
