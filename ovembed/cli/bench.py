from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ovembed.cli.options import ApiKeyOpt, JsonOpt, QuietOpt, RepositoryOpt, StreamsOpt, ThreadsOpt, option
from ovembed.cli.output import Talk, print_json, print_table, stdout_console

if TYPE_CHECKING:
    from ovembed.bench import Ceiling, Load, LoadResult
    from ovembed.engine import EngineSettings
    from ovembed.repository import ModelEntry

    Report = tuple[dict[str, Any], list[list[str]]]

_TEXTS = {"short": 3000, "mixed": 600}
_CONNECTIONS = (1, 16, 64)
_COLUMNS = ["Clients", "Requests/s", "Texts/s", "Tokens/s", "p50 ms", "p99 ms", "Of the ceiling", "Refused"]


def bench(
    url: Annotated[str | None, option("--url", help="Put load on this OpenAI-compatible endpoint.")] = None,
    model: Annotated[
        str | None, option("--model", "-m", help="Model to run in this process; with --url: its name there.")
    ] = None,
    repository: RepositoryOpt = Path("models"),
    api_key: ApiKeyOpt = None,
    kind: Annotated[
        Literal["short", "mixed"],
        option("--texts", help="short: 4 to 20 words each; mixed: 5 to 350, as passages are."),
    ] = "short",
    connections: Annotated[
        list[int] | None,
        option("--connections", "-c", min=1, help="Clients at the same time; may be repeated.", show_default="1 16 64"),
    ] = None,
    texts_per_request: Annotated[int, option("--texts-per-request", min=1, help="Texts of each request.")] = 1,
    encoding: Annotated[Literal["float", "base64"], option("--encoding", help="Form of the vectors.")] = "float",
    seconds: Annotated[float, option("--seconds", min=0.1, help="How long each load is counted.")] = 5.0,
    streams: StreamsOpt = None,
    threads: ThreadsOpt = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Measure a model, or a server under load.

    Both are held against the ceiling: what a model does here in batches of equally long texts and nothing around it. A
    server's share of it is told when the repository here holds the model that it serves.
    """
    from ovembed.bench import Load, make_texts
    from ovembed.engine import EngineSettings, default_cache_dir
    from ovembed.targets import find_model

    settings = EngineSettings(streams, threads, cache_dir=default_cache_dir())
    texts = make_texts(kind, _TEXTS[kind])
    talk = Talk(quiet=quiet)
    if url is None:
        measured, rows = _in_process(talk, find_model(model, repository), texts, settings)
    else:
        loads = [Load(count, texts_per_request, encoding, seconds) for count in connections or _CONNECTIONS]
        ceiling = _ceiling(talk, url, model, api_key, repository, texts, settings)
        measured, rows = _under_load(talk, url, model, api_key, texts, loads, ceiling)
    if as_json:
        print_json({"texts": kind} | measured)
    else:
        print_table(stdout_console(), _COLUMNS if url else ["Measured", "Result"], rows)


def _in_process(talk: Talk, entry: ModelEntry, texts: list[str], settings: EngineSettings) -> Report:
    from ovembed.bench import measure_model
    from ovembed.packed import load_engine

    with talk.console.status(f"Running {len(texts)} texts …"):
        engine = load_engine(entry, settings)
        found = measure_model(engine, texts)
    median, slow = found.latency_ms
    work = {"streams": engine.streams, "threads": engine.threads}
    json = asdict(found) | work | {"model": entry.name, "texts_per_s": found.texts_per_s}
    json |= {"tokens_per_s": found.tokens_per_s, "share_of_ceiling": found.share_of_ceiling}
    return json, [
        ["model", f"{entry.name}, {entry.spec.precision}"],
        ["streams, threads", f"{engine.streams}, {engine.threads}"],
        ["texts/s", f"{found.texts_per_s:,.0f}"],
        ["tokens/s", f"{found.tokens_per_s:,.0f}"],
        ["ceiling", str(found.ceiling)],
        ["share of the ceiling", f"{found.share_of_ceiling:.0%}"],
        ["padding", f"{found.padding:.1%}"],
        ["one text alone: median, 99th percentile", f"{median:.1f} ms, {slow:.1f} ms"],
    ]


def _ceiling(
    talk: Talk,
    url: str,
    model: str | None,
    api_key: str | None,
    repository: Path,
    texts: list[str],
    settings: EngineSettings,
) -> Ceiling | None:
    """Of the model that the server serves, when the repository here holds the same."""
    from ovembed.bench import find_ceiling
    from ovembed.engine import OpenVINOEngine
    from ovembed.errors import ModelNotFound, RepositoryError
    from ovembed.targets import find_model, open_embedder

    with open_embedder(url, model=model, api_key=api_key) as endpoint:
        served = endpoint.embed(texts[:1], truncate=True)
    try:
        entry = find_model(served.model, repository)
    except (ModelNotFound, RepositoryError):
        return None
    if served.fingerprint != entry.spec.fingerprint:
        return None
    with talk.console.status("Looking for the ceiling …"):
        engine = OpenVINOEngine.load(entry, settings)
        lengths = [min(len(tokens), entry.spec.max_tokens) for tokens in engine.tokenize(texts)]
        return find_ceiling(engine, lengths)


def _under_load(
    talk: Talk,
    url: str,
    model: str | None,
    api_key: str | None,
    texts: list[str],
    loads: list[Load],
    ceiling: Ceiling | None,
) -> Report:
    from ovembed.bench import run_load

    results = []
    for load in loads:
        with talk.console.status(f"{load.connections} connections …"):
            results.append(run_load(url, texts, load, model=model, api_key=api_key))
    json = {
        "url": url,
        "ceiling": asdict(ceiling) if ceiling else None,
        "loads": [_load_json(result, ceiling) for result in results],
    }
    return json, [_load_row(result, ceiling) for result in results]


def _share(result: LoadResult, ceiling: Ceiling | None) -> float | None:
    return result.tokens_per_s / ceiling.tokens_per_s if ceiling and result.tokens else None


def _load_json(result: LoadResult, ceiling: Ceiling | None) -> dict[str, Any]:
    return {
        "connections": result.load.connections,
        "texts_per_request": result.load.texts_per_request,
        "encoding": result.load.encoding,
        "seconds": result.seconds,
        "requests_per_s": result.requests_per_s,
        "texts_per_s": result.texts_per_s,
        "tokens_per_s": result.tokens_per_s,
        "latency_ms": {f"p{percentile}": result.latency_ms(percentile) for percentile in (50, 90, 99, 100)},
        "refused": {str(status): count for status, count in result.refused.items()},
        "share_of_ceiling": _share(result, ceiling),
    }


def _load_row(result: LoadResult, ceiling: Ceiling | None) -> list[str]:
    share = _share(result, ceiling)
    return [
        str(result.load.connections),
        f"{result.requests_per_s:,.0f}",
        f"{result.texts_per_s:,.0f}",
        f"{result.tokens_per_s:,.0f}",
        f"{result.latency_ms(50):.1f}",
        f"{result.latency_ms(99):.1f}",
        "unknown" if share is None else f"{share:.0%}",
        ", ".join(f"{count} x {status}" for status, count in sorted(result.refused.items())) or "none",
    ]
