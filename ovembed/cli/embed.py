from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from ovembed.cli import embed_options as opt
from ovembed.cli.options import (
    ApiKeyOpt,
    ConcurrencyOpt,
    QuietOpt,
    RepositoryOpt,
    RetriesOpt,
    TargetOpt,
    TimeoutOpt,
    UrlsOpt,
)
from ovembed.cli.output import Talk, interrupt_told, stdout_bytes
from ovembed.cli.progress import conclude, say_complete, share_read, shown
from ovembed.cli.ray import RayJob
from ovembed.cli.target import open_target
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ovembed.corpus import GivenTexts, Inputs, Reading, Split

Choice = TypeVar("Choice", bound=str)


def embed(
    files: opt.FilesArg = None,
    text: opt.TextOpt = None,
    model: TargetOpt = None,
    url: UrlsOpt = None,
    api_key: ApiKeyOpt = None,
    repository: RepositoryOpt = Path("models"),
    glob: opt.GlobOpt = None,
    input_format: opt.InputFormatOpt = None,
    split: opt.SplitOpt = None,
    column: opt.ColumnOpt = None,
    id_column: opt.IdColumnOpt = None,
    encoding: opt.EncodingOpt = None,
    output: opt.OutputOpt = None,
    kind: opt.FormatOpt = None,
    precision: opt.PrecisionOpt = "float32",
    dimensions: opt.DimensionsOpt = None,
    resume: opt.ResumeOpt = False,
    update: opt.UpdateOpt = False,
    force: opt.ForceOpt = False,
    prompt: opt.PromptOpt = None,
    prompt_name: opt.PromptNameOpt = None,
    truncate: opt.TruncateOpt = False,
    strict: opt.StrictOpt = False,
    concurrency: ConcurrencyOpt = 4,
    retries: RetriesOpt = 8,
    timeout: TimeoutOpt = 120.0,
    engine: opt.EngineOpt = "local",
    ray_address: opt.RayAddressOpt = "local",
    ray_cores: opt.RayCoresOpt = None,
    quiet: QuietOpt = False,
) -> None:
    """Turn texts and files into vectors.

    The output is JSON, JSONL, NPY, NPZ, Parquet or SQLite. The model runs in this process (--model), or
    behind an endpoint (--url). Without either, the only model of the repository is taken. Texts that cannot be embedded
    are told in <output>.errors.jsonl, and the exit code is 1.
    """
    from ovembed import corpus

    if prompt is not None and prompt_name is not None:
        raise typer.BadParameter("--prompt and --prompt-name exclude each other.")
    if output is None and (resume or update):
        raise typer.BadParameter("--resume and --update need --output.")
    talk = Talk(quiet=quiet)
    holding = None if input_format is None else _one_of(corpus.KINDS, input_format, "--input-format")
    reading = corpus.Reading(glob, corpus.Columns(column, id_column), _split(split), encoding, holding)
    inputs_without = functools.partial(_inputs, files, text, reading, talk)
    numbers = _one_of(corpus.PRECISIONS, precision, "--precision")
    if _one_of(("local", "ray"), engine, "--engine") == "ray":
        if output is None or kind is not None or url or update:
            raise typer.BadParameter(
                "--engine ray needs --output FOLDER, which gets Parquet parts by a model of this repository; --format, "
                "--url and --update are for --engine local."
            )
        options = corpus.Options("", dimensions, numbers, truncate, strict=strict)
        on_ray = RayJob(model, repository, prompt, prompt_name, options, ray_address, ray_cores, force, resume)
        on_ray.run(talk, inputs_without(corpus.places_of(output, "parquet")), output)
        return
    form = corpus.format_of(output, None if kind is None else _one_of(corpus.FORMATS, kind, "--format"))
    inputs = inputs_without([] if output is None else corpus.places_of(output, form))
    if output is not None and resume and not update and corpus.is_complete(output, form):
        say_complete(talk, output)
        return
    with interrupt_told(), contextlib.ExitStack() as stack:
        stdout = stack.enter_context(stdout_bytes())
        writer = stack.enter_context(
            corpus.open_writer(output, form, stdout, force=force, resume=resume, update=update)
        )
        embedder = stack.enter_context(
            open_target(
                talk,
                model=model,
                urls=url,
                api_key=api_key,
                repository=repository,
                concurrency=concurrency,
                retries=retries,
                timeout=timeout,
                for_many=not text,
            )
        )
        words = embedder.prompt(prompt_name) if prompt is None else prompt
        known: corpus.Known | None = None
        if update and output is not None and output.exists() and not writer.standing.complete:
            known = corpus.Known(stack.enter_context(corpus.open_stored(output, form)))
        pace = stack.enter_context(shown(talk))
        summary = corpus.embed_corpus(
            inputs.entries(functools.partial(embedder.spans, prompt=words)),
            embedder,
            writer,
            corpus.Options(words, dimensions, numbers, truncate, strict=strict or output is None),
            known=known,
            share_read=functools.partial(share_read, inputs),
            on_progress=pace,
        )
    conclude(talk, summary, pace, output)


def _one_of(known: Sequence[Choice], given: str, name: str) -> Choice:
    found = next((choice for choice in known if choice == given), None)
    if found is None:
        raise typer.BadParameter(f"'{given}' is none of {', '.join(known)}.", param_hint=name)
    return found


def _split(words: str | None) -> Split | None:
    from ovembed.corpus import Split

    try:
        return None if words is None else Split.parse(words)
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--split") from error


def _inputs(
    files: list[str] | None, texts: list[str] | None, reading: Reading, talk: Talk, without: Collection[Path]
) -> Inputs | GivenTexts:
    from ovembed import corpus

    if files and texts:
        raise typer.BadParameter("give files or --text, not both.")
    if texts:
        return corpus.GivenTexts(texts)
    if not files and sys.stdin.isatty():
        raise typer.BadParameter("give FILEs, - for stdin, or --text.")

    paths = files or [corpus.STDIN]
    if corpus.STDIN in paths and reading.columns != corpus.Columns() and reading.kind is None:
        raise typer.BadParameter("lines of stdin have no columns; tell what it holds with --input-format, as jsonl.")

    def say_encoding(name: str, encoding: str) -> None:
        talk.say(f"{name} is read as {encoding}; --encoding takes another.", "yellow")

    def say_no_ids(name: str) -> None:
        talk.say(f"Nothing in {name} has an id in '{reading.columns.id}'; --id-column takes another.", "yellow")

    return corpus.Inputs(
        paths, sys.stdin.buffer, reading, without=without, on_encoding=say_encoding, on_no_ids=say_no_ids
    )
