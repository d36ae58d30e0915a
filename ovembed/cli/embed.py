from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovembed.cli.options import (
    ApiKeyOpt,
    ConcurrencyOpt,
    QuietOpt,
    RepositoryOpt,
    RetriesOpt,
    TargetOpt,
    TimeoutOpt,
    UrlsOpt,
    option,
)
from ovembed.cli.output import Talk, stdout_bytes
from ovembed.cli.target import open_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus import Format, Item, Progress, Summary


def embed(
    files: Annotated[list[str] | None, typer.Argument(help="Files with one text per line; - is stdin.")] = None,
    text: Annotated[list[str] | None, option("--text", "-t", help="A text; may be repeated.")] = None,
    model: TargetOpt = None,
    url: UrlsOpt = None,
    api_key: ApiKeyOpt = None,
    repository: RepositoryOpt = Path("models"),
    output: Annotated[
        Path | None, option("--output", "-o", help="File to write; its ending tells the format.", show_default="stdout")
    ] = None,
    kind: Annotated[
        str | None, option("--format", "-f", help="json, jsonl, npy, npz, parquet or sqlite.", show_default="json")
    ] = None,
    dimensions: Annotated[
        int | None, option("--dimensions", "-d", min=1, help="Cut vectors to so many and normalize again.")
    ] = None,
    prompt: Annotated[str | None, option("--prompt", help="Words to put before every text.")] = None,
    prompt_name: Annotated[
        str | None, option("--prompt-name", help="Put this prompt of the model before every text.")
    ] = None,
    truncate: Annotated[
        bool, option("--truncate/--no-truncate", help="Cut texts that are too long instead of refusing them.")
    ] = False,
    strict: Annotated[
        bool, option("--strict", help="End at the first text that cannot be embedded, instead of going on without it.")
    ] = False,
    resume: Annotated[bool, option("--resume", help="Continue a job that broke off.")] = False,
    force: Annotated[bool, option("--force", help="Replace existing output.")] = False,
    concurrency: ConcurrencyOpt = 4,
    retries: RetriesOpt = 8,
    timeout: TimeoutOpt = 120.0,
    quiet: QuietOpt = False,
) -> None:
    """Turn texts into vectors: JSON, JSONL, NPY, NPZ, Parquet or SQLite.

    The model runs in this process (--model), or behind an endpoint (--url). Without either, the only model of
    the repository is taken.
    """
    from ovembed import corpus

    if prompt is not None and prompt_name is not None:
        raise typer.BadParameter("--prompt and --prompt-name exclude each other.")
    talk = Talk(quiet=quiet)
    items = _items(files, text)
    with (
        stdout_bytes() as stdout,
        corpus.open_writer(
            output, corpus.format_of(output, _format(kind)), stdout, force=force, resume=resume
        ) as writer,
        open_target(
            talk,
            model=model,
            urls=url,
            api_key=api_key,
            repository=repository,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
        ) as embedder,
        talk.bar(*_columns()) as bar,
    ):
        task = bar.add_task("", total=_count_lines(files, text))

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.texts)

        summary = corpus.embed_corpus(
            items,
            embedder,
            writer,
            corpus.Options(
                prompt=embedder.prompt(prompt_name) if prompt is None else prompt,
                dimensions=dimensions,
                truncate=truncate,
                strict=strict or output is None,
            ),
            on_progress=show,
        )
    _say_summary(talk, summary, output)


def _format(kind: str | None) -> Format | None:
    from ovembed.corpus import FORMATS

    if kind is None:
        return None
    for known in FORMATS:
        if kind == known:
            return known
    raise typer.BadParameter(f"'{kind}' is none of {', '.join(FORMATS)}.", param_hint="--format")


def _items(files: list[str] | None, texts: list[str] | None) -> Iterator[Item]:
    from ovembed import corpus

    if files and texts:
        raise typer.BadParameter("give files or --text, not both.")
    if texts:
        return corpus.read_texts(texts)
    if not files and sys.stdin.isatty():
        raise typer.BadParameter("give FILEs, - for stdin, or --text.")
    return corpus.read_lines(files or ["-"], sys.stdin.buffer)


def _columns() -> tuple[object, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: object) -> Text:
            speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
            return Text(f"{speed:,.0f} texts/s" if speed else "")

    return (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())


def _count_lines(files: list[str] | None, texts: list[str] | None) -> int | None:
    """How many texts are to come; None where only reading them tells, or where nobody watches."""
    if texts:
        return len(texts)
    if not files or "-" in files or not sys.stderr.isatty():
        return None
    total = 0
    for path in files:
        with Path(path).open("rb") as file:
            total += sum(1 for line in file if line.strip())
    return total


def _say_summary(talk: Talk, summary: Summary, output: Path | None) -> None:
    if summary.truncated:
        places = summary.truncated_places
        shown = ", ".join(places) + (", …" if summary.truncated > len(places) else "")
        talk.say(f"Cut to the model's length: {summary.truncated} of {summary.texts} texts ({shown}).", "yellow")
    if output is not None:
        talk.say(f"{summary.texts} texts, {summary.tokens} tokens -> {output}")
