"""Where commands print: results on stdout, talk and progress on stderr, plain when stderr is no terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from ovembed.cli.visible import visible
from ovembed.errors import QUOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress, ProgressColumn, Task
    from rich.status import Status

_LOG = logging.getLogger(__name__)

_NEVER_BROKEN = 20  # characters of a cell in a terminal that is wide enough for several of them
_WIDE = 80
_CLOSED_PIPE = 141  # what a shell reports of a program that a closed pipe ended


class Talk:
    """What a command says to the person on stderr; nothing when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, message: str, style: str = "") -> None:
        """One line; the message is text, never markup."""
        self.console.print(Text(visible(message), style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        print_table(self.console, columns, rows)

    @contextlib.contextmanager
    def steps(self) -> Iterator[Steps]:
        """Shows the step at work with a spinner, and how long each took once it is done."""
        status = self.console.status("", spinner_style="cyan")
        with status:
            steps = Steps(self, status)
            yield steps
            steps.end()

    def bar(self, *columns: Any) -> Progress:
        from rich.progress import Progress

        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)


class LoggedTalk(Talk):
    """The same as log lines, for programs that read stderr line by line; nothing that moves."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=True)
        self._level = logging.DEBUG if quiet else logging.INFO

    def say(self, message: str, style: str = "") -> None:  # noqa: ARG002
        _LOG.log(self._level, "%s", message)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for row in rows:
            self.say(", ".join(f"{column.strip()}: {cell.strip()}" for column, cell in zip(columns, row, strict=True)))


def server_talk(log_format: Literal["text", "json"], *, quiet: bool) -> Talk:
    """Of a server, whose log lines are of that form."""
    return Talk(quiet=quiet) if log_format == "text" else LoggedTalk(quiet=quiet)


def tell_failure(message: str) -> None:
    """What ends the command, on stderr: one line, and those that it quotes; where the log is JSON, a line of it."""
    from ovembed.http import logs

    if logs.are_json():
        _LOG.error("%s", message)
    else:
        sys.stderr.write(f"ovembed: {QUOTE.join(map(visible, message.split(QUOTE)))}\n")


def line_column(line: Callable[[], str]) -> ProgressColumn:
    """Of a bar: a line that is asked for again whenever the bar is drawn."""
    from rich.progress import ProgressColumn
    from rich.table import Column

    class Line(ProgressColumn):
        def render(self, task: Task) -> Text:  # noqa: ARG002
            return Text(line(), overflow="ellipsis")

    return Line(Column(no_wrap=True))


class Steps:
    """Call it with each step's label as the step begins."""

    def __init__(self, talk: Talk, status: Status) -> None:
        self._talk = talk
        self._status = status
        self._label: str | None = None
        self._began = 0.0

    def __call__(self, label: str) -> None:
        self.end()
        self._label, self._began = label, time.perf_counter()
        self._status.update(Text(f"{label} …"))

    def progress(self, done: int, total: int) -> None:
        """Bytes of a download, within the step at work."""
        self._status.update(Text(f"{self._label} … {done / 1e6:.1f} of {total / 1e6:.1f} MB"))

    def end(self) -> None:
        if self._label is not None:
            self._talk.say(f"  {self._label}  {time.perf_counter() - self._began:.1f} s", "dim")
            self._label = None


@contextlib.contextmanager
def only_our_words() -> Iterator[None]:
    """Python's stderr as before, but nothing of what native libraries write to its file descriptor."""
    sys.stderr.flush()
    number = sys.stderr.fileno()
    before = sys.stderr
    with os.fdopen(os.dup(number), "w", buffering=1, encoding=before.encoding, errors="backslashreplace") as ours:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        sys.stderr = ours
        try:
            yield
        finally:
            os.dup2(ours.fileno(), number)
            sys.stderr = before


@contextlib.contextmanager
def interrupt_told() -> Iterator[None]:
    """What is noted on an interrupt goes to stderr, as an error's notes do; typer makes an exit code of the rest."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):
            sys.stderr.write(f"ovembed: {visible(note)}\n")
        raise


def print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    rows = [[*map(visible, row)] for row in rows]
    for position, column in enumerate(columns):
        cells = [column, *(row[position] for row in rows if position < len(row))]
        whole = max(map(len, cells)) <= _NEVER_BROKEN and console.width >= _WIDE
        table.add_column(column, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def program() -> str:
    """How this person can call us again: by name where that finds us, else by the path they used."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m ovembed"
    found = shutil.which("ovembed")
    return "ovembed" if found and called.exists() and called.samefile(found) else sys.argv[0]


def stdout_console() -> Console:
    return Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on stdout, indented."""
    import orjson

    with stdout_bytes() as stdout:
        stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@contextlib.contextmanager
def stdout_bytes() -> Iterator[IO[bytes]]:
    """stdout for results; when its reader has gone, the command ends without a word."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_CLOSED_PIPE) from None
