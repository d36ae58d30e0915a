from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, TypeAlias

import typer

from ovembed.cli.hits import hit_json, print_hits
from ovembed.cli.options import (
    ApiKeyOpt,
    ConcurrencyOpt,
    JsonOpt,
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
from ovembed.cli.visible import visible
from ovembed.errors import InputError, ModelNotFound, TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovembed.corpus import Space
    from ovembed.protocols import Embedder, Embeddings, Vectors
    from ovembed.search import Hit

    Nearest: TypeAlias = Callable[[Vectors, int], list[Hit]]


def query(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for; may be left out with --interactive.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Output of ovembed embed: a file, or the folder of Ray.", show_default=False
        ),
    ] = None,
    count: Annotated[int, option("--count", "-k", min=1, help="How many rows to show.")] = 10,
    interactive: Annotated[
        bool, option("--interactive", "-i", help="Look for one line of stdin after the other, until Ctrl-D.")
    ] = False,
    model: TargetOpt = None,
    url: UrlsOpt = None,
    api_key: ApiKeyOpt = None,
    repository: RepositoryOpt = Path("models"),
    prompt: Annotated[
        str | None,
        option("--prompt", help="Words to put before the query.", show_default="the model's prompt for queries"),
    ] = None,
    prompt_name: Annotated[str | None, option("--prompt-name", help="Put this prompt of the model before it.")] = None,
    json: JsonOpt = False,
    concurrency: ConcurrencyOpt = 4,
    retries: RetriesOpt = 8,
    timeout: TimeoutOpt = 120.0,
    quiet: QuietOpt = False,
) -> None:
    """Find the texts nearest to a query, in an output of embed.

    The search is exact. The model is the one of the repository that made the file, unless --model or --url names it;
    vectors of another model are refused.
    """
    from ovembed import corpus, search

    first, path = _arguments(text, file, interactive=interactive)
    if prompt is not None and prompt_name is not None:
        raise typer.BadParameter("--prompt and --prompt-name exclude each other.")
    talk = Talk(quiet=quiet)
    with contextlib.ExitStack() as stack:
        stdout = stack.enter_context(stdout_bytes())
        stored = stack.enter_context(corpus.open_stored(path))
        nearest: Nearest = functools.partial(search.nearest_once, stored, str(path))
        if interactive:
            nearest = stack.enter_context(search.VectorIndex(stored, str(path))).nearest
        embedder = stack.enter_context(
            open_target(
                talk,
                model=model if model or url else _maker(stored.space, path, repository),
                urls=url,
                api_key=api_key,
                repository=repository,
                concurrency=concurrency,
                retries=retries,
                timeout=timeout,
                for_many=False,
            )
        )
        words = _prompt(embedder, prompt, prompt_name)
        find = _Search(talk, embedder, words, functools.partial(search.space_warning, stored, str(path)), nearest)
        if first is not None:
            _show(stdout, first, find(first, count), json=json, line=interactive)
        if interactive:
            for line in _lines():
                try:
                    _show(stdout, line, find(line, count), json=json, line=True)
                except TextError as error:
                    talk.say(f"Not this one: {error.problem}", "yellow")


def _arguments(text: str, file: Path | None, *, interactive: bool) -> tuple[str | None, Path]:
    if file is not None:
        if not file.exists() and Path(text).is_file():
            raise typer.BadParameter(f"the text comes first: ovembed query {str(file)!r} {visible(text)}")
        return text, file
    if not interactive:
        raise typer.BadParameter("give TEXT and FILE, or FILE and --interactive.")
    return None, Path(text)


def _maker(space: Space, path: Path, repository: Path) -> str | None:
    """The name of the model that made the file; None, for the only one there is, where the file does not tell."""
    from ovembed import targets

    if space.fingerprint is None:
        return None
    entry = targets.find_maker(space.fingerprint, repository)
    if entry is None:
        raise ModelNotFound(
            f"No model in {repository}/ made {path} ('{space.model}', fingerprint {space.fingerprint}). Name the "
            "model with --model or the server that has it with --url."
        )
    return entry.name


def _prompt(embedder: Embedder, prompt: str | None, name: str | None) -> str:
    if prompt is not None:
        return prompt
    return embedder.query_prompt() if name is None else embedder.prompt(name)


@dataclass
class _Search:
    """From words to rows; warns once where it is unknown whether the file is the model's."""

    talk: Talk
    embedder: Embedder
    prompt: str
    compare: Callable[[Embeddings], str | None]
    nearest: Nearest
    warned: bool = False

    def __call__(self, text: str, count: int) -> list[Hit]:
        if not text.strip():
            raise InputError("The query is empty.")
        result = self.embedder.embed([self.prompt + text], truncate=True)
        self._warn(self.compare(result))
        if result.truncated:
            self.talk.say("The query was cut to the model's length.", "yellow")
        return self.nearest(result.vectors[0], count)

    def _warn(self, warning: str | None) -> None:
        if warning is not None and not self.warned:
            self.warned = True
            self.talk.say(warning, "yellow")


def _show(stdout: IO[bytes], text: str, hits: list[Hit], *, json: bool, line: bool) -> None:
    """With `line`, JSON takes one line for each query."""
    import orjson

    if not json:
        print_hits(hits)
        return
    layout = orjson.OPT_APPEND_NEWLINE | (0 if line else orjson.OPT_INDENT_2)
    stdout.write(orjson.dumps({"query": text, "results": [hit_json(hit) for hit in hits]}, option=layout))
    stdout.flush()


def _lines() -> Iterator[str]:
    """Lines of stdin that hold words; in a terminal they are asked for, and can be edited and called back."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):  # input() writes its prompt to stdout
        yield from filter(str.strip, map(str.rstrip, sys.stdin))
        return
    import readline  # noqa: F401  input() edits lines once it is loaded

    while True:
        try:
            line = input("> ")
        except EOFError:
            sys.stderr.write("\n")
            return
        if line.strip():
            yield line
