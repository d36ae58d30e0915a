from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

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
from ovembed.errors import InputError, ModelNotFound, TextError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus import Space
    from ovembed.protocols import Embedder
    from ovembed.search import Hit, VectorIndex


def query(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What to look for; left out with --interactive.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Output of ovembed embed.", show_default=False)
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
    from ovembed import corpus
    from ovembed.search import VectorIndex

    first, path = _arguments(text, file, interactive=interactive)
    if prompt is not None and prompt_name is not None:
        raise typer.BadParameter("--prompt and --prompt-name exclude each other.")
    talk = Talk(quiet=quiet)
    with (
        stdout_bytes() as stdout,
        corpus.open_stored(path) as stored,
        VectorIndex(stored, str(path)) as index,
        open_target(
            talk,
            model=model if model or url else _maker(stored.space, path, repository),
            urls=url,
            api_key=api_key,
            repository=repository,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
        ) as embedder,
    ):
        search = _Search(talk, index, embedder, _prompt(embedder, prompt, prompt_name), count)
        if first is not None:
            _show(stdout, first, search(first), json=json, line=interactive)
        if interactive:
            for line in _lines():
                try:
                    _show(stdout, line, search(line), json=json, line=True)
                except TextError as error:
                    talk.say(f"Not this one: {error.problem}", "yellow")


def _arguments(text: str, file: Path | None, *, interactive: bool) -> tuple[str | None, Path]:
    if file is not None:
        if not file.exists() and Path(text).is_file():
            raise typer.BadParameter(f"the text comes first: ovembed query {str(file)!r} {text}")
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


class _Search:
    """From words to rows; warns once where it is unknown whether the file is the model's."""

    def __init__(self, talk: Talk, index: VectorIndex, embedder: Embedder, prompt: str, count: int) -> None:
        self._talk = talk
        self._index = index
        self._embedder = embedder
        self._prompt = prompt
        self._count = count
        self._warned = False

    def __call__(self, text: str) -> list[Hit]:
        if not text.strip():
            raise InputError("The query is empty.")
        result = self._embedder.embed([self._prompt + text], truncate=True)
        self._warn(self._index.check(result))
        if result.truncated:
            self._talk.say("The query was cut to the model's length.", "yellow")
        return self._index.nearest(result.vectors[0], self._count)

    def _warn(self, warning: str | None) -> None:
        if warning is not None and not self._warned:
            self._warned = True
            self._talk.say(warning, "yellow")


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
