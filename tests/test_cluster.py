"""The embed job on a Ray cluster of two nodes on this machine, as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from ovembed.cluster import RayCluster, embed_on_ray
from ovembed.corpus import GivenTexts, Options, open_stored
from ovembed.errors import InputError, MissingExtra
from ovembed.local import LocalEmbedder
from ovembed.vectors import cosine
from tests.cli import failure, ovembed
from tests.fakes import FakeEngine, make_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed import ModelRepository
    from ovembed.corpus import StoredVectors

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
BLOCK = 4096
DEFAULT = Options()

ray = pytest.importorskip("ray", reason="Ray is not installed: the engine ray is NOT tested")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, psutil.Process]]:
    """A cluster of two nodes with a core each: its address, and the process above all of its own."""
    script = (
        "import sys; from ray.cluster_utils import Cluster\n"
        "node = {'num_cpus': 1, 'object_store_memory': 80 * 2**20}\n"
        "cluster = Cluster(initialize_head=True, head_node_args=node | {'include_dashboard': False})\n"
        "cluster.add_node(**node); print(cluster.address, flush=True); sys.stdin.read(); cluster.shutdown()\n"
    )
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
        process.communicate()


@pytest.fixture
def address(cluster: tuple[str, psutil.Process]) -> str:
    return cluster[0]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several blocks of lines, one of which is too long for the model."""
    lines = [f"the cat {number} sat on the mat {number % 7}" for number in range(3 * BLOCK + 100)]
    lines[BLOCK + 5] = "cat " * 100
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def local(texts: Path, repository: ModelRepository) -> Iterator[StoredVectors]:
    """The same job in one process."""
    path = texts.with_name("local.npy")
    done = ovembed("embed", str(texts), "--model", "tiny", "--repository", str(repository.folder), "-o", str(path))
    assert done.returncode == 1, "one text is refused"
    with open_stored(path) as stored:
        yield stored


def assert_same(folder: Path, local: StoredVectors) -> None:
    with open_stored(folder) as stored:
        assert stored.space == local.space
        assert [row.to_json() for row in stored.rows[:]] == [row.to_json() for row in local.rows[:]]
        np.testing.assert_allclose(stored.vectors, local.vectors, atol=1e-6)


def test_the_rows_are_those_of_one_process_in_the_same_order(
    address: str, texts: Path, repository: ModelRepository, local: StoredVectors, tmp_path: Path
) -> None:
    target = ("--model", "tiny", "--repository", str(repository.folder))
    command = ("embed", str(texts), *target, "-o", "out", "--engine", "ray", "--ray-address", address)
    done = ovembed(*command, cwd=tmp_path, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (1, b"")
    summary, message = [line for line in done.stderr.decode().splitlines() if " left" not in line]
    assert summary.startswith("12,387 texts, ")
    assert "1 of 12,388 texts could not be embedded: see " in message
    assert_same(tmp_path / "out", local)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert [(part["first"], part["rows"]) for part in manifest["parts"]] == [
        (0, BLOCK),
        (BLOCK, BLOCK - 1),
        (2 * BLOCK - 1, BLOCK),
        (3 * BLOCK - 1, 100),
    ]
    assert (manifest["rows"], manifest["refused"]) == (3 * BLOCK + 99, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.errors.jsonl"}
    refused = [json.loads(line) for line in (tmp_path / "out.errors.jsonl").read_bytes().splitlines()]
    assert [(each["line"], "102 tokens" in each["reason"]) for each in refused] == [(BLOCK + 6, True)]
    question = ("query", "the cat 77 sat on the mat 0", "out", "--prompt", "", *target[2:], "--json", "-k", "1")
    assert json.loads(ovembed(*question, cwd=tmp_path).stdout)["results"][0]["text"] == question[1]
    assert "exists already" in failure(ovembed(*command, cwd=tmp_path))


def workers(above: psutil.Process) -> list[int]:
    """Processes of the actors that have the model, or load it, as Ray names them."""
    found = []
    for each in above.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::MapWorker" in str(each.cmdline()):
                found.append(each.pid)
    return found


def test_a_worker_that_is_killed_costs_only_time(
    cluster: tuple[str, psutil.Process],
    texts: Path,
    repository: ModelRepository,
    local: StoredVectors,
    tmp_path: Path,
) -> None:
    address, above = cluster
    target = ("--model", "tiny", "--repository", str(repository.folder), "-o", str(tmp_path / "out"))
    on_ray = ("--engine", "ray", "--ray-address", address)
    command = [sys.executable, "-m", "ovembed", "embed", str(texts), *target, *on_ray]
    nudge = threading.Event()
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not (running := workers(above)):
            assert process.poll() is None, process.communicate()
            nudge.wait(0.02)
        os.kill(running[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, stderr
    assert b"1 of 12,388 texts could not be embedded" in stderr
    assert_same(tmp_path / "out", local)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.errors.jsonl"}


def test_an_error_in_a_worker_is_one_line_and_the_parts_that_are_done_are_kept(
    address: str, texts: Path, repository: ModelRepository, local: StoredVectors, tmp_path: Path
) -> None:
    """The last block is the one with the error. The vectors are int8, of one limit before and after it."""
    lines = texts.read_text(encoding="utf-8").splitlines()
    source, output = tmp_path / "late.txt", tmp_path / "out"
    source.write_text("\n".join(sorted(lines, key=len)), encoding="utf-8")
    target = ("--model", "tiny", "--repository", str(repository.folder), "-o", str(output), "--precision", "int8")
    command = ("embed", str(source), *target, "--engine", "ray", "--ray-address", address)
    told = failure(ovembed(*command, "--strict", "-q", timeout=PATIENCE_S))
    assert f"late.txt line {3 * BLOCK + 100}: 102 tokens" in told
    assert re.search(r" \d parts are kept in .*out\.partial: continue with --resume\.$", told)
    assert re.search(r"broke off after \d parts.*--resume.*--force", failure(ovembed(*command)))
    assert "had other texts" in failure(ovembed(*command, "--resume", "--prompt", "other"))
    done = ovembed(*command, "--resume", timeout=PATIENCE_S)
    assert re.search(r"12,387 texts \((4,096|8,192|12,288) from the job that broke off\)", done.stderr.decode())
    with open_stored(output) as stored:
        expected = {row.item.text: vector for row, vector in zip(local.rows[:], local.vectors, strict=True)}
        texts_found = [row.item.text for row in stored.rows[:]]
        assert texts_found == [line for line in source.read_text(encoding="utf-8").splitlines() if line in expected]
        assert cosine(stored.vectors, np.stack([expected[text] for text in texts_found])).min() > 0.999
    assert {path.suffix for path in output.iterdir()} == {".parquet", ".json"}
    assert {path.name for path in tmp_path.iterdir()} == {"late.txt", "out", "out.errors.jsonl"}
    assert "nothing to resume" in ovembed(*command, "--resume").stderr.decode()


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:1"])
def test_no_cluster_there_is_told(where: str, tmp_path: Path, repository: ModelRepository) -> None:
    target = ("--model", "tiny", "--repository", str(repository.folder), "-o", str(tmp_path / "out"))
    command = ("embed", "--text", "a", *target, "--engine", "ray", "--ray-address", where)
    assert f"No Ray cluster answers at {where}" in failure(ovembed(*command))
    assert list(tmp_path.iterdir()) == []


def run(
    tmp_path: Path, options: Options | None = None, *, texts: tuple[str, ...] = ("a",), force: bool = False
) -> None:
    entries = GivenTexts(texts).entries()
    with LocalEmbedder(FakeEngine(), "fake") as embedder:
        embed_on_ray(
            entries,
            make_entry(tmp_path),
            tmp_path / "out",
            options or Options(),
            RayCluster(),
            embedder=embedder,
            force=force,
        )


def test_what_cannot_begin_is_told_before_a_cluster_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no texts"):
        run(tmp_path, texts=())
    (tmp_path / "out").mkdir()
    for force in (False, True):
        with pytest.raises(InputError, match="exists already"):
            run(tmp_path, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ovembed\[ray\]"):
        run(tmp_path)


@pytest.mark.parametrize(
    "arguments", [("--engine", "spark"), ("--engine", "ray"), ("--engine", "ray", "-o", "a", "--update")]
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert ovembed("embed", "--text", "a", *arguments).returncode == 2


def test_the_example_of_a_cluster_is_what_ray_takes() -> None:
    import jsonschema
    import yaml

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_bytes())
    jsonschema.validate(yaml.safe_load((ROOT / "examples" / "ray" / "cluster.yaml").read_bytes()), schema)
