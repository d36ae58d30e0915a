from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed.engine import EngineSettings, OpenVINOEngine, openvino_engine
from ovembed.engine.openvino_engine import _compile
from ovembed.errors import EngineError
from ovembed.repository import read_model

if TYPE_CHECKING:
    from pathlib import Path

    import openvino as ov

    from ovembed import ModelRepository


def rewrite_weights(folder: Path, factor: float) -> None:
    """Scale every weight of the IR; what else lies in the file (axes, shapes: tiny as float32) is left alone."""
    content = bytearray((folder / "openvino_model.bin").read_bytes())
    values = np.frombuffer(content, dtype=np.float32, count=len(content) // 4)
    values[(np.abs(values) > 1e-6) & (np.abs(values) < 10)] *= factor
    (folder / "openvino_model.bin").write_bytes(content)


_LOAD_AND_DROP = """
import signal, sys
from pathlib import Path
from ovembed import ModelRepository
from ovembed.engine import OpenVINOEngine
entry = ModelRepository(Path(sys.argv[1])).get("tiny")
engines = [OpenVINOEngine.load(entry) for _ in range(2)]
while engines:
    del engines[0]
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_are_heard_when_engines_have_gone_in_the_order_they_came(repository: ModelRepository) -> None:
    """Nothing of OpenVINO's may be what the system runs handlers on."""
    command = [sys.executable, "-c", _LOAD_AND_DROP, str(repository.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "heard\n"), ended.stderr


TEXTS = ["the cat", "a dog in the old house by the river", "x"]


@pytest.fixture(scope="module")
def engine(repository: ModelRepository) -> OpenVINOEngine:
    return OpenVINOEngine.load(repository.get("tiny"))


def test_rows_are_unit_float32_in_the_order_of_the_batch(engine: OpenVINOEngine) -> None:
    tokens = engine.tokenize(TEXTS)
    rows = engine.run(tokens)
    assert rows.dtype == np.float32
    assert rows.shape == (3, engine.spec.dimensions)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(engine.run(tokens[::-1]), rows[::-1], atol=1e-6)


def test_texts_are_never_cut_or_padded_by_the_tokenizer(engine: OpenVINOEngine) -> None:
    assert [len(tokens) for tokens in engine.tokenize(["cat " * 1000, "cat"])] == [1002, 3]


def test_the_closing_tokens_are_those_that_end_every_text(engine: OpenVINOEngine) -> None:
    ends = {tuple(tokens[-engine.closing_tokens :]) for tokens in engine.tokenize(TEXTS)}
    assert engine.closing_tokens == 1
    assert len(ends) == 1


def test_token_ids_beyond_the_vocabulary_do_not_exist(engine: OpenVINOEngine) -> None:
    assert max(max(tokens) for tokens in engine.tokenize(TEXTS)) < engine.vocabulary_size


def test_threads_may_share_an_engine(engine: OpenVINOEngine) -> None:
    tokens = engine.tokenize(TEXTS)
    alone = engine.run(tokens)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(engine.run(tokens))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for rows in results:
        np.testing.assert_allclose(rows, alone, atol=1e-6)


@pytest.mark.parametrize("packing", [False, True])
def test_a_model_that_is_loaded_again_is_taken_from_the_cache(
    repository: ModelRepository, tmp_path: Path, packing: bool
) -> None:
    for name in ("minilm-fp32", "tiny", "tiny"):
        OpenVINOEngine.load(repository.get(name), EngineSettings(cache_dir=tmp_path, packing=packing))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_row_that_is_not_finite_never_leaves(repository: ModelRepository, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(repository.get("tiny").folder, folder)
    rewrite_weights(folder, np.nan)
    broken = OpenVINOEngine.load(read_model(folder))
    with pytest.raises(EngineError, match="not finite"):
        broken.run(broken.tokenize(["the cat"]))


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin", "tokenizer.json"])
def test_a_damaged_file_is_named(repository: ModelRepository, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(repository.get("tiny").folder, folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EngineError, match=r"openvino_model\.xml|tokenizer\.json"):
        OpenVINOEngine.load(read_model(folder))


def test_a_cache_that_cannot_be_written_is_done_without(repository: ModelRepository, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = EngineSettings(cache_dir=tmp_path / "file" / "cache")
    engine = OpenVINOEngine.load(repository.get("tiny"), settings)
    assert engine.run(engine.tokenize(["the cat"])).shape == (1, engine.spec.dimensions)


def test_a_changed_model_is_not_taken_from_the_cache(repository: ModelRepository, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(repository.get("tiny").folder, folder)
    settings = EngineSettings(cache_dir=tmp_path / "cache")
    entry = read_model(folder)
    before = OpenVINOEngine.load(entry, settings)
    rows = before.run(before.tokenize(TEXTS))
    rewrite_weights(folder, 1.1)
    after = OpenVINOEngine.load(entry, settings)
    assert np.abs(after.run(after.tokenize(TEXTS)) - rows).max() > 1e-3


def test_normalization_can_be_left_out(repository: ModelRepository) -> None:
    entry = repository.get("tiny")
    raw = OpenVINOEngine.load(replace(entry, spec=replace(entry.spec, normalize=False)))
    assert not np.allclose(np.linalg.norm(raw.run(raw.tokenize(TEXTS)), axis=1), 1, atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "expected"), [(EngineSettings(3, 5), (3, 5)), (EngineSettings(threads=32), (8, 32))]
)
def test_streams_and_threads_as_set_or_by_cores(settings: EngineSettings, expected: tuple[int, int]) -> None:
    assert settings.resolve() == expected


class Counted:
    """A compiled model that counts its batches; each waits for `gate` once it has told that it `began`."""

    def __init__(self, compiled: Any) -> None:
        self.inputs, self.batches = compiled.inputs, 0
        self.began, self.gate = threading.Semaphore(0), threading.Event()
        self.gate.set()
        self._compiled = compiled

    def create_infer_request(self) -> Counted:
        self._request = self._compiled.create_infer_request()
        return self

    def infer(self, feed: Any, *, share_inputs: bool) -> Any:
        self.batches += 1
        self.began.release()
        assert self.gate.wait(30)
        return self._request.infer(feed, share_inputs=share_inputs)


def test_only_batches_that_are_alone_time_after_time_get_all_threads(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Counted] = []

    def compile_counted(model: ov.Model, settings: EngineSettings) -> Counted:
        compiled.append(Counted(_compile(model, settings)))
        return compiled[-1]

    monkeypatch.setattr(openvino_engine, "_compile", compile_counted)
    engine = OpenVINOEngine.load(repository.get("tiny"), EngineSettings(streams=2, threads=2, low_latency=True))
    streams, for_one = compiled
    tokens = engine.tokenize(TEXTS)
    row = engine.run(tokens)
    assert (streams.batches, for_one.batches) == (1, 0)
    for _ in range(20):
        np.testing.assert_allclose(engine.run(tokens), row, atol=1e-5)
    calm = streams.batches
    assert streams.batches + for_one.batches == 21
    assert for_one.batches > 10
    for_one.began, for_one.gate = threading.Semaphore(0), threading.Event()
    with ThreadPoolExecutor(1) as other:
        held = other.submit(engine.run, tokens)
        assert for_one.began.acquire(timeout=30)
        engine.run(tokens)
        for_one.gate.set()
        np.testing.assert_allclose(held.result(30), row, atol=1e-5)
    assert streams.batches == calm + 1
    engine.run(tokens)
    assert streams.batches == calm + 2


def test_one_stream_has_all_threads_already(repository: ModelRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[ov.CompiledModel] = []
    monkeypatch.setattr(openvino_engine, "_compile", lambda *work: compiled.append(_compile(*work)) or compiled[-1])
    OpenVINOEngine.load(repository.get("tiny"), EngineSettings(streams=1, threads=2, low_latency=True))
    assert len(compiled) == 1


@pytest.mark.parametrize("content", [b"", b"<xml", b"weights"])
def test_what_is_no_openvino_model_is_told_without_the_words_of_other_readers(
    repository: ModelRepository, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(repository.folder / "tiny", tmp_path / "tiny")
    (folder / "openvino_model.xml").write_bytes(content)
    with pytest.raises(EngineError, match=r"openvino_model\.xml is not an OpenVINO model"):
        OpenVINOEngine.load(read_model(folder))
    assert capfd.readouterr() == ("", "")
