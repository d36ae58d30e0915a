from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.cli.export import show_entry
from ovembed.cli.hits import print_hits
from ovembed.cli.options import QuietOpt, RepositoryOpt
from ovembed.cli.output import Talk, program
from ovembed.errors import NotReady, ServerError

if TYPE_CHECKING:
    from ovembed.protocols import Embeddings
    from ovembed.repository import ModelEntry, ModelRepository

_QUERY = "I can't remember my login"
_NEAREST = 3
_WAIT_S = 60.0
_AGREEMENT = 0.999  # int8 rounds a little differently from batch to batch


def demo(repository: RepositoryOpt = Path("models"), quiet: QuietOpt = False) -> None:
    """Export, serve, check, embed and query an example."""
    from ovembed.repository import ModelRepository

    talk = Talk(quiet=quiet)
    models = ModelRepository(repository)
    entry = _export(talk, models)
    examples = _example_file()
    texts = examples.read_text(encoding="utf-8").splitlines()
    result = _embed(talk, models, entry, texts)
    talk.say(f"Nearest to: {_QUERY}", "bold")
    _show_nearest(result, examples, texts)
    talk.say("Next:", "bold")
    for arguments in (
        f"serve --repository {repository}",
        "health http://127.0.0.1:8090",
        f"embed {examples} --repository {repository} --model {entry.name} -o texts.npy",
        f"query {shlex.quote(_QUERY)} texts.npy --repository {repository}",
        "export --help",
    ):
        talk.say(f"  {program()} {arguments}")


def _export(talk: Talk, models: ModelRepository) -> ModelEntry:
    from ovembed.export import ExportRequest, export_model
    from ovembed.hub import DEFAULT_MODEL

    if DEFAULT_MODEL in models.names():
        entry = models.get(DEFAULT_MODEL)
        talk.say(f"'{entry.name}' was exported before, to {entry.folder}.", "bold")
        return entry
    talk.say(f"Exporting {DEFAULT_MODEL} to int8", "bold")
    with talk.steps() as step:
        entry = export_model(ExportRequest(DEFAULT_MODEL), models, on_step=step)
    show_entry(talk, entry)
    return entry


def _embed(talk: Talk, models: ModelRepository, entry: ModelEntry, texts: list[str]) -> Embeddings:
    """The query and the texts after it, by the server; held against the same by the model in this process."""
    from ovembed import launch, targets, vectors

    talk.say("Serving it, and asking it", "bold")
    with talk.steps() as step:
        step("Starting the server")
        with launch.local_server(models, entry.name, wait_s=_WAIT_S) as url:
            step(f"Checking its health at {url}")
            report = launch.wait_healthy(url, _WAIT_S)
            if not report.healthy:
                raise NotReady(f"The server at {url} is not healthy: {report.problem}")
            step(f"Embedding {len(texts)} texts through the server")
            with targets.open_embedder(url) as embedder:
                served = embedder.embed([_QUERY, *texts])
            step("Embedding them in this process")
            with targets.load_embedder(entry) as embedder:
                local = embedder.embed([_QUERY, *texts])
            step("Stopping the server")
    agreement = float(vectors.cosine(served.vectors, local.vectors).min())
    if agreement < _AGREEMENT or served.fingerprint != local.fingerprint:
        raise ServerError(
            f"The server's vectors differ from the model's (lowest cosine {agreement:.5f}). This is a bug."
        )
    talk.say(f"Both agree: lowest cosine {agreement:.6f}, fingerprint {served.fingerprint}.")
    return served


def _show_nearest(result: Embeddings, source: Path, texts: list[str]) -> None:
    """By the same search as `ovembed query`, over vectors that are in no file yet."""
    from ovembed.corpus import Item, Row, Space, StoredVectors
    from ovembed.search import nearest_once

    query, rows = result.vectors[0], result.vectors[1:]
    items = [Row(Item(text, str(source), number)) for number, text in enumerate(texts, start=1)]
    space = Space(result.model, result.fingerprint, rows.shape[1])
    print_hits(nearest_once(StoredVectors(space, rows, items), str(source), query, _NEAREST))


def _example_file() -> Path:
    """examples/texts.txt: beside the package in a clone, inside it where a wheel is installed."""
    local = Path("examples") / "texts.txt"
    package = Path(str(resources.files("ovembed")))
    return next(path for path in (local, package / local, package.parent / local) if path.exists())
