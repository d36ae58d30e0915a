"""`ovembed embed --engine ray`."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed.cli.output import interrupt_told, only_our_words
from ovembed.cli.progress import conclude, say_complete, shown

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.cli.output import Talk
    from ovembed.corpus import GivenTexts, Inputs, Options


@dataclass(frozen=True)
class RayJob:
    """What the command line says of a job on a cluster; the prompt of `options` is still to be found."""

    model: str | None
    repository: Path
    prompt: str | None
    prompt_name: str | None
    options: Options
    address: str
    cores: int | None
    force: bool
    resume: bool

    def run(self, talk: Talk, inputs: Inputs | GivenTexts, output: Path) -> None:
        """Texts are read and split here, and embedded there."""
        from ovembed import targets
        from ovembed.cluster import RayCluster, embed_on_ray, is_complete

        if self.resume and is_complete(output):
            say_complete(talk, output)
            return
        entry = targets.find_model(self.model, self.repository)
        words = entry.spec.prompt(self.prompt_name) if self.prompt is None else self.prompt
        with (
            interrupt_told(),
            only_our_words(),
            targets.load_embedder(entry) as embedder,
            shown(talk) as pace,
        ):
            summary = embed_on_ray(
                inputs.entries(functools.partial(embedder.spans, prompt=words)),
                entry,
                output,
                replace(self.options, prompt=words),
                RayCluster(self.address, self.cores),
                embedder=embedder,
                force=self.force,
                resume=self.resume,
                on_progress=pace,
            )
        conclude(talk, summary, pace, output)
