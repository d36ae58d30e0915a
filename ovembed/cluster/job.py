"""The job itself: texts into blocks, blocks through Ray Data, parts into a folder with a manifest."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from ovembed import vectors
from ovembed.cluster.blocks import Block, Embedded, Task, part_name, read_results, read_texts, write_blocks
from ovembed.cluster.gathering import clean, gathered
from ovembed.corpus import Item, Pause, Progress, Refused, Summary, errors_of
from ovembed.corpus.account import EXAMPLES, nothing_embedded
from ovembed.corpus.formats.parts import Manifest, Part, write_manifest
from ovembed.corpus.partial import had
from ovembed.corpus.precision import limit_for
from ovembed.errors import ClusterError, InputError, MissingExtra, OvembedError, last_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ovembed.corpus import Options
    from ovembed.protocols import Embedder
    from ovembed.repository import ModelEntry

_KNOCK_S = 5.0
# Their numbers are those of all the others, with a margin.
_PROBE_TEXTS = 64
# The address that starts a cluster of this machine alone, for as long as the job runs.
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class RayCluster:
    """`address` of its head (host:port), "auto" for the one that this machine belongs to, or LOCAL.

    `worker_cores` is how many cores each worker gets, None for as many as the smallest machine has.
    """

    address: str = LOCAL
    worker_cores: int | None = None


def embed_on_ray(
    entries: Iterable[Item | Refused | Pause],
    entry: ModelEntry,
    folder: Path,
    options: Options,
    cluster: RayCluster,
    *,
    embedder: Embedder,
    force: bool = False,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every item into parts in `folder`, which shows up when all is there; refused ones are told beside it.

    The rows, and their order, are those that the model gives in one process. The folders of the model and of the
    output must be seen by all machines. `embedder` is the model in this process. A job that breaks off leaves its
    parts in `<folder>.partial`, and `resume` keeps them. Raises InputError as `embed_corpus` does and for an output
    that exists (`force` replaces one of this kind), ClusterError when Ray fails.
    """
    folder = folder.absolute()
    with gathered(folder, force=force, resume=resume) as partial:
        earlier = read_results(partial)
        refused: list[Refused] = []
        items = _items(entries, refused, strict=options.strict)
        blocks = list(write_blocks(items, partial, _kind(entry, options)))
        _check_same(blocks, earlier)
        remaining = [block for block in blocks if block.number not in earlier]
        done = list(earlier.values())
        if remaining:
            limit = _limit(earlier, remaining, embedder, options)
            task = Task(str(entry.folder.absolute()), entry.name, options, limit)
            done += _run(remaining, task, cluster, on_progress)
        done.sort(key=lambda block: block.number)
        refused += [each for block in done for each in block.refused]
        if not any(block.rows for block in done):
            raise nothing_embedded(next(iter(refused), None), len(refused))
        manifest = _manifest(done, len(refused))
        write_manifest(partial, manifest)
        _tell(errors_of(folder), refused)
    clean(folder, manifest)
    resumed = sum(block.rows for block in earlier.values())
    places = tuple(place for block in done for place in block.truncated_places)[:EXAMPLES]
    repeated = sum(block.repeated for block in done)
    return Summary(manifest.rows, manifest.tokens, manifest.truncated, manifest.refused, resumed, 0, repeated, places)


def _kind(entry: ModelEntry, options: Options) -> str:
    """What decides the rows of texts."""
    return repr((entry.spec.fingerprint, replace(options, strict=False)))


def _check_same(blocks: Sequence[Block], earlier: Mapping[int, Embedded]) -> None:
    keys = {block.number: block.key for block in blocks}
    if any(keys.get(number) != block.key for number, block in earlier.items()):
        raise had("other texts, or another model, prompt, precision or number of dimensions")


def _limit(
    earlier: Mapping[int, Embedded], blocks: Sequence[Block], embedder: Embedder, options: Options
) -> float | None:
    """Of int8 vectors, the same for all parts: that of those there are, else by the first texts."""
    if options.precision != "int8":
        return None
    spaces = (block.space for block in earlier.values() if block.space is not None)
    if (known := next(spaces, None)) is not None:
        return known.limit
    texts = (item.text for block in blocks for item in read_texts(block) if item.text.strip())
    probe = embedder.embed([options.prompt + text for text in islice(texts, _PROBE_TEXTS)], truncate=True)
    return limit_for(vectors.cut(probe.vectors, options.dimensions), options.precision) if len(probe.vectors) else None


def _items(entries: Iterable[Item | Refused | Pause], refused: list[Refused], *, strict: bool) -> Iterator[Item]:
    for entry in entries:
        if isinstance(entry, Item):
            yield entry
        elif isinstance(entry, Refused):
            if strict:
                raise InputError(f"{entry.place}: {entry.reason}")
            refused.append(entry)


def _run(
    blocks: Sequence[Block],
    task: Task,
    cluster: RayCluster,
    on_progress: Callable[[Progress], None],
) -> list[Embedded]:
    """What became of the blocks, in any order. Ray starts another worker for one that is killed."""
    from ovembed.cluster.worker import Worker  # noqa: PLC0415  openvino loads only when a model does

    done: list[Embedded] = []
    with _connected(cluster) as ray:
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        each = cluster.worker_cores or min(filter(None, cores), default=1)
        workers = max(1, min(len(blocks), sum(count // each for count in cores)))
        dataset = ray.data.from_items(
            [{"block": pickle.dumps(block)} for block in blocks], override_num_blocks=len(blocks)
        )
        results = dataset.map_batches(
            Worker,
            fn_constructor_args=(task, each),
            batch_format="numpy",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
            num_cpus=each,
        )
        whole = sum(block.count for block in blocks)
        texts = tokens = truncated = seen = 0
        for result in results.iter_rows():
            block: Embedded | OvembedError = pickle.loads(result["result"])  # noqa: S301  by our own workers
            if isinstance(block, OvembedError):
                raise block
            done.append(block)
            texts, tokens, truncated = texts + block.rows, tokens + block.tokens, truncated + block.truncated
            seen += block.rows + len(block.refused)
            on_progress(Progress(texts, tokens, None, truncated, seen / whole))
    return done


@contextlib.contextmanager
def _connected(cluster: RayCluster) -> Iterator[Any]:
    """Ray with its Data part, for one job. Its errors are ClusterErrors."""
    ray = _import_ray()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    local = {"include_dashboard": False} if cluster.address == LOCAL else {}
    try:
        _knock(cluster.address)
        ray.init(cluster.address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"No Ray cluster answers at {cluster.address} ({last_line(error)}).") from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray gave up: {last_line(error)}") from error
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError when nothing listens there: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("--engine ray", "ray") from error
    return ray


def _manifest(done: Sequence[Embedded], refused: int) -> Manifest:
    """Raises ClusterError when workers gave vectors of different spaces, as of a model that was exported meanwhile."""
    spaces = [block.space for block in done if block.space is not None]
    if not all(space.is_same(spaces[0]) for space in spaces):
        raise ClusterError("The model was exported again while the job ran. Run the job again.")
    parts, first = [], 0
    for block in done:
        if block.rows:
            parts.append(Part(part_name(block.number), first, block.rows))
            first += block.rows
    return Manifest(spaces[0], tuple(parts), sum(b.tokens for b in done), sum(b.truncated for b in done), refused)


def _tell(path: Path, refused: Sequence[Refused]) -> None:
    """One line for each, as a job in one process writes them; no file for none."""
    if not refused:
        path.unlink(missing_ok=True)
        return
    with path.open("wb") as file:
        file.writelines(orjson.dumps(each.to_json(), option=orjson.OPT_APPEND_NEWLINE) for each in refused)
