"""The Embedder that a command was told to use: --model, --url, or the only model there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.cli.output import Talk
    from ovembed.protocols import Embedder


def open_target(
    talk: Talk,
    *,
    model: str | None,
    urls: Sequence[str] | None,
    api_key: str | None,
    repository: Path,
    concurrency: int,
    retries: int,
    timeout: float,
    for_many: bool,
) -> Embedder:
    """Of what goes wrong on the way to endpoints, and is tried again, `talk` tells.

    for_many: as in `load_embedder`.
    """
    from ovembed import targets

    if not urls:
        return targets.load_embedder(targets.find_model(model, repository), for_many=for_many)
    from ovembed.remote import RemoteSettings

    return targets.open_endpoints(
        urls,
        model=model,
        api_key=api_key,
        settings=RemoteSettings(concurrency=concurrency, retries=retries, timeout_s=timeout),
        on_trouble=lambda trouble: talk.say(trouble, "yellow"),
    )
