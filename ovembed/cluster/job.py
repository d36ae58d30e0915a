"""The job itself: texts into blocks, blocks through Ray Data, parts into a folder with a manifest."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ovembed.cluster.blocks import Block, Embedded, part_name, write_blocks
from ovembed.corpus import Item, Pause, Progress, Refused, Summary, errors_of
from ovembed.corpus.formats.parts import MANIFEST, Manifest, Part, write_manifest
from ovembed.corpus.job import EXAMPLES
from ovembed.errors import ClusterError, InputError, MissingExtra, OvembedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ovembed.corpus import Options
    from ovembed.repository import ModelEntry

_KNOCK_S = 5.0
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
    force: bool = False,
    on_read: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every item into parts in `folder`, which shows up when all is there; refused ones are told beside it.

    The rows, and their order, are those that the model gives in one process. The folders of the model and of the
    output must be seen by all machines. `on_read` hears how many texts there are before the first is embedded.
    Raises InputError as `embed_corpus` does and for an output that exists (`force` replaces one of this kind),
    ClusterError when Ray fails.
    """
    if options.precision == "int8":
        raise InputError("int8 vectors of several workers would not share a scale: choose float32, float16 or binary.")
    folder = folder.absolute()
    with _partial(folder, force=force) as partial:
        refused: list[Refused] = []
        blocks = list(write_blocks(_items(entries, refused, strict=options.strict), partial))
        if not blocks:
            raise InputError(_nothing(refused))
        on_read(sum(block.count for block in blocks))
        done = _run(blocks, entry, options, cluster, on_progress)
        refused += [each for block in done for each in block.refused]
        if not any(block.rows for block in done):
            raise InputError(_nothing(refused))
        manifest = _manifest(done, len(refused))
        _clean(partial, manifest)
        write_manifest(partial, manifest)
    _tell(errors_of(folder), refused)
    places = tuple(place for block in done for place in block.truncated_places)[:EXAMPLES]
    return Summary(manifest.rows, manifest.tokens, manifest.truncated, manifest.refused, 0, 0, places)


@contextlib.contextmanager
def _partial(folder: Path, *, force: bool) -> Iterator[Path]:
    """A folder beside it that takes its place when the block ends well, and is gone when it does not."""
    if folder.exists() and not (force and (folder / MANIFEST).exists()):
        advice = "Choose another --output" if force else "Replace it with --force, or choose another --output"
        raise InputError(f"{folder} exists already. {advice}.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _items(entries: Iterable[Item | Refused | Pause], refused: list[Refused], *, strict: bool) -> Iterator[Item]:
    for entry in entries:
        if isinstance(entry, Item):
            yield entry
        elif isinstance(entry, Refused):
            if strict:
                raise InputError(f"{entry.place}: {entry.reason}")
            refused.append(entry)


def _nothing(refused: Sequence[Refused]) -> str:
    return f"{refused[0].place}: {refused[0].reason}" if refused else "There are no texts to embed."


def _run(
    blocks: Sequence[Block],
    entry: ModelEntry,
    options: Options,
    cluster: RayCluster,
    on_progress: Callable[[Progress], None],
) -> list[Embedded]:
    """What became of the blocks, in their order. Ray starts another worker for one that is killed."""
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
            fn_constructor_args=(str(entry.folder.absolute()), entry.name, options, each),
            batch_format="numpy",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
            num_cpus=each,
        )
        texts = tokens = truncated = 0
        for result in results.iter_rows():
            block: Embedded | OvembedError = pickle.loads(result["result"])  # noqa: S301  by our own workers
            if isinstance(block, OvembedError):
                raise block
            done.append(block)
            texts, tokens, truncated = texts + block.rows, tokens + block.tokens, truncated + block.truncated
            on_progress(Progress(texts, tokens, None, truncated))
    return sorted(done, key=lambda block: block.number)


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
        raise ClusterError(f"No Ray cluster answers at {cluster.address} ({_one_line(error)}).") from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray gave up: {_one_line(error)}") from error
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


def _one_line(error: BaseException) -> str:
    """The end of what may be a whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _manifest(done: Sequence[Embedded], refused: int) -> Manifest:
    """Raises ClusterError when workers gave vectors of different spaces, as of a model that was exported meanwhile."""
    spaces = [block.space for block in done if block.space is not None]
    if any(space != spaces[0] for space in spaces):
        raise ClusterError("The model was exported again while the job ran. Run the job again.")
    parts, first = [], 0
    for block in done:
        if block.rows:
            parts.append(Part(part_name(block.number), first, block.rows))
            first += block.rows
    return Manifest(spaces[0], tuple(parts), sum(b.tokens for b in done), sum(b.truncated for b in done), refused)


def _clean(folder: Path, manifest: Manifest) -> None:
    """Leave the parts alone: texts, and what killed workers began to write, go."""
    parts = {part.file for part in manifest.parts}
    for path in folder.iterdir():
        if path.name not in parts:
            path.unlink()


def _tell(path: Path, refused: Sequence[Refused]) -> None:
    """One line for each, as a job in one process writes them; no file for none."""
    if not refused:
        path.unlink(missing_ok=True)
        return
    with path.open("wb") as file:
        file.writelines(orjson.dumps(each.to_json(), option=orjson.OPT_APPEND_NEWLINE) for each in refused)
