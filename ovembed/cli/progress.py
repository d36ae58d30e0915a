"""How an embed job is shown while it runs: a bar in a terminal, else now and then a line."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ovembed.cli.output import line_column
from ovembed.errors import TextsRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ovembed.cli.output import Talk
    from ovembed.corpus import GivenTexts, Inputs, Progress, Summary

_SECONDS_BETWEEN_LINES = 10.0
_BAR_CELLS, _WIDE = 16, 100


def share_read(inputs: Inputs | GivenTexts) -> float | None:
    """How much of the input is read; None where nobody knows its end."""
    return inputs.bytes_read / inputs.total_bytes if inputs.total_bytes else None


@contextlib.contextmanager
def shown(talk: Talk) -> Iterator[Pace]:
    """Call what it gives with each progress of the job."""
    if not talk.console.is_terminal:
        yield Pace(_lines(talk))
        return
    from rich.progress import BarColumn

    def show(pace: Pace) -> None:
        bar.update(task, total=None if pace.share is None else 1.0, completed=pace.share or 0.0)

    pace = Pace(show)
    beside = [BarColumn(_BAR_CELLS)] if talk.console.width >= _WIDE else []
    with talk.bar(*beside, line_column(lambda: pace.line)) as bar:
        task = bar.add_task("", total=None)
        yield pace


def _lines(talk: Talk) -> Callable[[Pace], None]:
    """A line every few seconds, for logs."""
    last = 0.0

    def show(pace: Pace) -> None:
        nonlocal last
        if pace.seconds >= last + _SECONDS_BETWEEN_LINES:
            last = pace.seconds
            talk.say(pace.line)

    return show


class Pace:
    """Speed, padding, what was cut, and the time left where the end of the input is known."""

    def __init__(self, show: Callable[[Pace], None]) -> None:
        self._show = show
        self._began = time.perf_counter()
        self._progress: Progress | None = None
        self._progress_at_s = 0.0

    def __call__(self, progress: Progress) -> None:
        self._progress = progress
        self._progress_at_s = self.seconds
        self._show(self)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def share(self) -> float | None:
        """Of the job, from 0 to 1; None where nobody knows its end."""
        return None if self._progress is None else self._progress.share

    @property
    def line(self) -> str:
        """What matters most comes first: a narrow terminal cuts the end."""
        if self._progress is None:
            return "starts …"
        words = [f"{self._progress.texts:,} texts", self._speed(self._progress_at_s)]
        if self.share:
            whole_s = self._progress_at_s / self.share
            words[:0] = [f"{self.share:.0%}", f"{_clock(max(0.0, whole_s - self.seconds))} left"]
        if self._progress.truncated:
            words.append(f"{self._progress.truncated:,} cut")
        return ", ".join(words)

    @property
    def total(self) -> str:
        """The time it took, and the speed."""
        return f"{self.seconds:.1f} s ({self._speed(self.seconds)})"

    def _speed(self, seconds: float) -> str:
        if self._progress is None:
            return "no new texts"
        texts, tokens, computed = self._progress.texts, self._progress.tokens, self._progress.computed_tokens
        words = [f"{texts / seconds:,.0f} texts/s"]
        if tokens:  # not every endpoint tells
            words.append(f"{tokens / seconds:,.0f} tokens/s")
        if computed:
            words.append(f"{1 - tokens / computed:.0%} padding")
        return ", ".join(words)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say_complete(talk: Talk, output: Path) -> None:
    talk.say(f"{output} is complete; there is nothing to resume.")


def conclude(talk: Talk, summary: Summary, pace: Pace, output: Path | None) -> None:
    """What was done, and as an error what was not."""
    from ovembed.corpus import errors_of

    if summary.truncated:
        shown_places = ", ".join(summary.truncated_places)
        more = ", …" if summary.truncated > len(summary.truncated_places) else ""
        cut = f"{summary.truncated} of {summary.texts} texts ({shown_places}{more})"
        talk.say(f"Cut to the model's length: {cut}.", "yellow")
    if output is None:
        return
    spared = {
        "from the job that broke off": summary.resumed,
        "unchanged": summary.reused,
        "repeated": summary.repeated,
    }
    notes = [f"{count:,} {what}" for what, count in spared.items() if count]
    told = f" ({', '.join(notes)})" if notes else ""
    tokens = f", {summary.tokens:,} tokens" if summary.tokens else ""
    talk.say(f"{summary.texts:,} texts{told}{tokens} in {pace.total} -> {output}")
    if summary.refused:
        count = f"{summary.refused:,} of {summary.texts + summary.refused:,}"
        raise TextsRefused(f"{count} texts could not be embedded: see {errors_of(output)}.")
