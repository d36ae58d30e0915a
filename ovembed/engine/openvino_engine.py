"""A compiled model that turns texts to token ids, and token ids to rows."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

from ovembed import batches, cores
from ovembed.engine.inputs import Inputs
from ovembed.engine.packing import with_packing
from ovembed.engine.pooling import embedding_rows, with_pooling
from ovembed.engine.runtime import core
from ovembed.engine.tokenizer import load_tokenizer
from ovembed.errors import EngineError, OvembedError, last_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import openvino as ov

    from ovembed.batches import Layout
    from ovembed.engine.tokenizer import Tokenizer
    from ovembed.protocols import Tokens, TokenSpans, Vectors
    from ovembed.spec import ModelSpec

# Kernels that each stream keeps for shapes it has met, some 35 for a shape of a model of six layers. Unbounded, memory
# grows with every new shape (tests/bench/memory.py); when few are kept, making them again takes a third of the time.
_KERNEL_CACHE_CAPACITY = 2048

# Activations that meet int8 weights are quantized in groups of so many values. OpenVINO's own 32 is about 9 %
# slower; at 128 the mean cosine to the source falls below 0.999 (MiniLM, 3,000 sentences).
_ACTIVATION_GROUP_SIZE = 64

_HEAD_BYTES = 4096  # of a model's file; its root element is among them

# After so many batches that found no other at work, the next is taken to be alone too. One with all threads that is
# not alone, as when two clients ask in turn, costs a quarter of the speed.
_ALONE_IN_A_ROW = 8


class ModelFiles(Protocol):
    """What there is to load: a model of the repository, or one in the making."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def model_path(self) -> Path: ...
    @property
    def tokenizer_path(self) -> Path: ...
    @property
    def pooled(self) -> bool:
        """The encoder pools its tokens itself, into (batch, 1, dimensions) or the same at every token."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model is run; none of it changes which vector space it makes.

    streams: batches that run at the same time; threads: cores they share. None lets `resolve` choose.
    inference_precision: arithmetic of the parts that are not quantized.
    cache_dir: where compiled models are kept for the next start; None keeps none.
    map_weights: use the weights where their file lies, unless they are cached. When that file is cut off meanwhile, the
    process ends, so what must survive that reads a copy of its own.
    low_latency: a batch that runs alone gets all threads, not those of one stream. The model is compiled a second time
    for it and takes memory twice.
    packing: texts share the rows of a batch, where the model is one that this is known for (see packing).
    """

    streams: int | None = None
    threads: int | None = None
    inference_precision: Literal["f32", "bf16"] = "f32"
    cache_dir: Path | None = None
    map_weights: bool = True
    low_latency: bool = False
    packing: bool = False

    def resolve(self) -> tuple[int, int]:
        """(streams, threads) for this machine: all cores this process may use (see cores), few threads to a stream.

        Two streams of one thread beat one stream of two by 10 to 20 % on short texts; more streams than
        that only pay on many cores.
        """
        threads = self.threads or cores.find().usable
        streams = self.streams or min(threads, max(2, threads // 4))
        return streams, threads

    def split(self, count: int) -> list[Self]:
        """The same for so many processes, each with its share of the threads, and of streams that are given."""
        if count == 1:
            return [self]
        threads = self.threads or cores.find().usable
        return [
            replace(
                self,
                threads=_share(threads, count, number),
                streams=self.streams and _share(self.streams, count, number),
            )
            for number in range(count)
        ]


def _share(total: int, count: int, at: int) -> int:
    return max(1, total // count + (at < total % count))


def default_cache_dir() -> Path:
    """Compiled models of this user: safe to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ovembed" / "compiled"


class OpenVINOEngine:
    """A compiled model and its tokenizer (see protocols.Engine)."""

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: Tokenizer,
        compiled: ov.CompiledModel,
        settings: EngineSettings,
        *,
        vocabulary_size: int,
        compiled_for_one: ov.CompiledModel | None = None,
    ) -> None:
        """`compiled_for_one` runs with all threads what would otherwise be the only batch at work."""
        self.spec = spec
        self.streams, self.threads = settings.resolve()
        self._tokenizer = tokenizer
        self._inputs = [port.any_name for port in compiled.inputs]
        self.packs = "segments" in self._inputs
        self._requests = _requests(compiled, self.streams)
        self._request_for_one = _requests(compiled_for_one, 1) if compiled_for_one else None
        self._at_work = 0
        self._alone_in_a_row = 0
        self._lock = threading.Lock()
        self.vocabulary_size = vocabulary_size
        self.closing_tokens = tokenizer.closing_tokens

    @classmethod
    def load(cls, files: ModelFiles, settings: EngineSettings | None = None) -> Self:
        """Raises EngineError, naming the file, when the model or its tokenizer cannot be loaded."""
        settings = settings or EngineSettings()
        spec = files.spec
        with _translated(f"{files.tokenizer_path} cannot be read"):
            tokenizer = load_tokenizer(files.tokenizer_path)
        with _translated(f"{files.model_path} cannot be loaded; export the model again"):
            _check_kind(files.model_path)
            model = core().read_model(files.model_path, config={"ENABLE_MMAP": settings.map_weights})
            embedder = with_packing(model, spec) if settings.packing and not files.pooled else None
            if embedder is None:
                embedder = with_pooling(model, None if files.pooled else spec.pooling, normalize=spec.normalize)
            compiled = _compile(embedder, settings)
            streams, _ = settings.resolve()
            for_one = _compile(embedder, replace(settings, streams=1)) if settings.low_latency and streams > 1 else None
            rows = tokenizer.vocabulary_size or embedding_rows(model)
        return cls(spec, tokenizer, compiled, settings, vocabulary_size=rows, compiled_for_one=for_one)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return self._tokenizer.encode(texts)

    def spans(self, text: str) -> TokenSpans:
        return self._tokenizer.spans(text)

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        feed = self._feed(batch, layout)
        with self._request() as request, _translated("inference failed"):
            rows: Vectors = request.infer(feed, share_inputs=True)[0][: len(batch)]
        if not np.isfinite(rows).all():
            raise EngineError(
                f"{self.spec.source} gave a vector that is not finite. Export it with another --weight-format."
            )
        return rows

    def warm_up(self) -> None:
        """Make the kernels of a short text for every request, before others use this engine."""
        feed = self._feed(self.tokenize(["warm up"]))
        for requests in filter(None, (self._requests, self._request_for_one)):
            for _ in range(requests.qsize()):
                request = requests.get()
                with _translated("inference failed"):
                    request.infer(feed, share_inputs=True)
                requests.put(request)

    @contextmanager
    def _request(self) -> Iterator[ov.InferRequest]:
        """One that nobody else uses; waits for it when all are at work."""
        with self._lock:
            self._alone_in_a_row = 0 if self._at_work else self._alone_in_a_row + 1
            requests = self._requests
            if self._request_for_one and self._alone_in_a_row > _ALONE_IN_A_ROW:
                requests = self._request_for_one
            self._at_work += 1
        request = requests.get()
        try:
            yield request
        finally:
            requests.put(request)
            with self._lock:
                self._at_work -= 1

    def _feed(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> dict[str, np.ndarray[Any, Any]]:
        layout = layout or batches.layout([len(tokens) for tokens in batch], self.spec.max_tokens, packs=self.packs)
        return Inputs(batch, layout, self.spec.pooling).feed(self._inputs)


def _check_kind(path: Path) -> None:
    """OpenVINO shows what is no IR to the readers of all other formats, and some of them complain on stderr."""
    with path.open("rb") as file:
        if b"<net" not in file.read(_HEAD_BYTES):
            raise EngineError(f"{path} is not an OpenVINO model; export the model again.")


def _requests(compiled: ov.CompiledModel, count: int) -> queue.SimpleQueue[ov.InferRequest]:
    requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
    for _ in range(count):
        requests.put(compiled.create_infer_request())
    return requests


def _compile(model: ov.Model, settings: EngineSettings) -> ov.CompiledModel:
    """The cache knows a model by its names too, and OpenVINO counts the nodes of all models of a process for those."""
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
    model.output(0).set_names({"vectors"})
    streams, threads = settings.resolve()
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": settings.inference_precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "CPU_RUNTIME_CACHE_CAPACITY": _KERNEL_CACHE_CAPACITY,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _ACTIVATION_GROUP_SIZE,
    }
    if settings.cache_dir is not None and _can_write(settings.cache_dir):
        properties["CACHE_DIR"] = str(settings.cache_dir)
    return core().compile_model(model, "CPU", properties)


def _can_write(folder: Path) -> bool:
    """A cache that cannot be kept, as on a read-only root, is no reason to fail."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@contextmanager
def _translated(problem: str) -> Iterator[None]:
    """OpenVINO and tokenizers raise bare RuntimeError and Exception: keep the last line that says something."""
    try:
        yield
    except OvembedError:
        raise
    except Exception as error:
        raise EngineError(f"{problem} ({last_line(error)}).") from error
