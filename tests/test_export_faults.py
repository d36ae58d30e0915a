"""Exports that go wrong: one plain line, exit code 1, and a repository that is as it was."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.cli.main import exit_code, main
from ovembed.errors import ExportError, OvembedError, RepositoryError
from ovembed.export import assemble, quantize
from ovembed.repository import golden
from tests import models
from tests.folders import visible, workplaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier, Event
    from pathlib import Path

    from ovembed.repository import Golden

STEPS = [
    "Looking for the model",
    "Converting to OpenVINO",
    "Running the source model",
    "Writing fp32 weights",
    "Comparing with the source model",
    "Publishing",
]


@pytest.fixture
def own(repository: ModelRepository, tmp_path: Path) -> ModelRepository:
    """A repository that holds `tiny` already."""
    return publish_copy(repository, tmp_path / "models")


def publish_copy(repository: ModelRepository, folder: Path) -> ModelRepository:
    made = ModelRepository(folder)
    with made.stage() as staged:
        shutil.copytree(repository.folder / "tiny", staged.folder, dirs_exist_ok=True)
        made.publish(staged, "tiny", overwrite=False)
    return made


@pytest.fixture
def source(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return shutil.copytree(tiny_bert, tmp_path / "source")


class Failed:
    """What the command said when it failed."""

    def __init__(self, stderr: str) -> None:
        lines = stderr.splitlines()
        said = [line for line in lines if not any(line.strip().startswith(step.split()[0]) for step in STEPS)]
        assert len(said) == 1, stderr
        assert lines[-1] == said[0]
        assert said[0].startswith("ovembed: ")
        self.message = said[0].removeprefix("ovembed: ")


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `ovembed export`, which must fail and change nothing that can be seen; its message."""

    def run(folder: Path, *arguments: str, weight_format: str = "fp32") -> str:
        before = visible(folder)
        options = ["-r", str(folder), "--weight-format", weight_format, "--overwrite"]
        monkeypatch.setattr(sys, "argv", ["ovembed", "export", *arguments, *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        assert (exit_.value.code, out) == (1, "")
        assert visible(folder) == before
        assert workplaces(folder) == []
        return Failed(err).message

    return run


def edit_json(path: Path, **changes: Any) -> None:
    models.write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def truncate_weights(source: Path) -> None:
    path = source / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)


def replace_weights(source: Path) -> None:
    (source / "model.safetensors").write_bytes(bytes(range(256)) * 400)


def empty_weights(source: Path) -> None:
    os.truncate(source / "model.safetensors", 0)


def point_to_weights(source: Path) -> None:
    """What git leaves without its large file storage."""
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 90868376\n"
    (source / "model.safetensors").write_text(text, encoding="utf-8")


def damage_pytorch_weights(source: Path) -> None:
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(bytes(range(256)))


def change_weights(source: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = source / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def without(prefix: str) -> Callable[[Path], None]:
    def change(weights: dict[str, Any]) -> dict[str, Any]:
        return {name: weight for name, weight in weights.items() if not name.startswith(prefix)}

    return lambda source: change_weights(source, change)


def poison_weights(source: Path) -> None:
    def change(weights: dict[str, Any]) -> dict[str, Any]:
        weights["encoder.layer.0.output.dense.bias"][:] = float("nan")
        return weights

    change_weights(source, change)


def remove(*names: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        for name in names:
            (source / name).unlink()

    return change


def break_json(name: str, text: str = '{"a": ') -> Callable[[Path], None]:
    def change(source: Path) -> None:
        (source / name).write_text(text, encoding="utf-8")

    return change


def configure(**changes: Any) -> Callable[[Path], None]:
    return lambda source: edit_json(source / "config.json", **changes)


def add_dense_module(source: Path) -> None:
    path = source / "modules.json"
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    models.write_json(path, [*json.loads(path.read_text(encoding="utf-8")), dense])


def take_the_fast_tokenizer(source: Path) -> None:
    (source / "tokenizer.json").unlink()
    (source / "vocab.txt").write_text("\n".join(models.SPECIAL), encoding="utf-8")
    models.write_json(source / "tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate_weights, ["model.safetensors is damaged", "Download the model again"]),
        (replace_weights, ["model.safetensors is damaged", "Download the model again"]),
        (empty_weights, ["model.safetensors is damaged", "Download the model again"]),
        (point_to_weights, ["model.safetensors is damaged", "Download the model again"]),
        (damage_pytorch_weights, ["pytorch_model.bin is damaged", "Download the model again"]),
        (poison_weights, ["itself gives vectors that are not finite", "Download it again"]),
        (without("encoder.layer.1.attention.self.query"), ["not complete", "query.bias is missing and 1 more"]),
        (without("embeddings.LayerNorm"), ["not complete", "embeddings.LayerNorm.bias is missing"]),
        (configure(num_hidden_layers=3), ["not complete", "encoder.layer.2."]),
        (configure(max_position_embeddings=128), ["other shapes than its config.json says"]),
        (configure(model_type="nonsense"), ["is a 'nonsense' model", "does not know it", "another architecture"]),
        (
            configure(model_type="t5", classifier_dropout=0.0),
            ["is a 't5' model", "another architecture"],
        ),
        (configure(hidden_size=33), ["could not be converted", "33"]),
        (configure(num_hidden_layers="two"), ["num_hidden_layers", "'two'"]),
        (add_dense_module, ["orders its modules Transformer Pooling Normalize Dense;"]),
        (take_the_fast_tokenizer, ["its tokenizer has no fast version", "Choose a model"]),
        (remove("tokenizer.json", "tokenizer_config.json"), ["holds no tokenizer"]),
        (remove("model.safetensors"), ["holds no weights"]),
        (remove("config.json"), ["holds no model: it has no config.json"]),
        (break_json("config.json"), ["source/config.json is not valid JSON"]),
        (break_json("modules.json"), ["modules.json is not a list"]),
        (break_json("tokenizer.json"), ["tokenizer.json is damaged", "Download the model again"]),
        (break_json("tokenizer.json", "{}"), ["tokenizer.json is damaged", "Download the model again"]),
        (break_json("tokenizer_config.json"), ["tokenizer_config.json is not valid JSON"]),
        (break_json("sentence_bert_config.json"), ["sentence_bert_config.json is not valid JSON"]),
        (break_json("1_Pooling/config.json"), ["1_Pooling/config.json is not valid JSON"]),
        (break_json("config_sentence_transformers.json", '{"prompts": ["a"]}'), ["prompts", "Mend the file"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_damaged_source_is_told_in_one_line(
    damage: Callable[[Path], None], words: list[str], source: Path, own: ModelRepository, fail: Callable[..., str]
) -> None:
    damage(source)
    message = fail(own.folder, str(source), "--name", "tiny", "--allow-pickle")
    for word in words:
        assert word in message


def test_pickled_weights_are_refused_unless_allowed(
    source: Path, own: ModelRepository, fail: Callable[..., str]
) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    message = fail(own.folder, str(source), "--name", "tiny")
    assert message.startswith(f"pytorch_model.bin of '{source}' can run code when it is read")
    assert "Add --allow-pickle if you trust its author" in message
    entry = export_model(
        ExportRequest(str(source), name="tiny", precision="fp32", allow_pickle=True, overwrite=True), own
    )
    assert entry.fidelity.minimum > 0.9999


def test_a_pooler_that_is_missing_is_no_loss(source: Path, own: ModelRepository) -> None:
    without("pooler.")(source)
    entry = export_model(ExportRequest(str(source), precision="fp32"), own)
    assert entry.fidelity.minimum > 0.9999


def test_an_unknown_id_without_network_fails_at_once(own: ModelRepository, tmp_path: Path) -> None:
    """Without HF_HUB_OFFLINE, the Hub's client would try again for long."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "ovembed", "export", "nobody/nothing", "-r", str(own.folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "'nobody/nothing' is no folder here" in Failed(done.stderr).message


def test_an_empty_folder_holds_no_model(own: ModelRepository, tmp_path: Path, fail: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty holds no model" in fail(own.folder, str(tmp_path / "empty"))


def test_too_far_from_the_source_keeps_nothing(tiny_bert: Path, own: ModelRepository, fail: Callable[..., str]) -> None:
    message = fail(own.folder, str(tiny_bert), "--name", "tiny", "--min-similarity", "1.0", weight_format="int8")
    assert "too far from its source: mean cosine 0.99" in message
    assert "Nothing was kept" in message


@pytest.mark.parametrize("place", ["/proc/models", "file/models"])
def test_a_place_that_cannot_be_written(place: str, tiny_bert: Path, tmp_path: Path, fail: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    assert "models cannot be written: " in fail(tmp_path / place, str(tiny_bert))


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes more rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
class TestFullDisk:
    # An export of tiny takes between 240 and 300 kB.
    @pytest.mark.parametrize("room", [0, 40, 100, 160, 200, 240])
    def test_it_is_told_whichever_step_it_meets(
        self, room: int, repository: ModelRepository, tiny_bert: Path, tmp_path: Path, fail: Callable[..., str]
    ) -> None:
        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            fill(disk, room * 1024)
            message = fail(own.folder, str(tiny_bert), "--name", "tiny")
            assert "No space left" in message
            assert str(own.folder) in message
            assert "--repository" in message

    def test_while_the_golden_vectors_are_written(
        self,
        repository: ModelRepository,
        tiny_bert: Path,
        tmp_path: Path,
        fail: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        really = golden.write

        def fill_then_write(folder: Path, content: Golden) -> None:
            fill(disk, 4096)
            really(folder, content)

        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            monkeypatch.setattr(assemble, "write_golden", fill_then_write)
            assert "No space left" in fail(own.folder, str(tiny_bert), "--name", "tiny")

    def test_while_it_calibrates(
        self, repository: ModelRepository, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = quantize.quantize

        def fill_then_quantize(*arguments: Any) -> None:
            fill(disk, 4096)
            really(*arguments)

        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            before = visible(own.folder)
            monkeypatch.setattr(quantize, "quantize", fill_then_quantize)
            request = ExportRequest(str(tiny_bert), name="tiny", precision="full-int8", overwrite=True)
            with pytest.raises(ExportError, match="No space left"):
                export_model(request, own)
            assert visible(own.folder) == before
            assert workplaces(own.folder) == []

    def test_removing_needs_next_to_no_room(self, repository: ModelRepository, tmp_path: Path) -> None:
        """A full disk is told and changes nothing; with a little room the removal makes more."""
        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            before = visible(own.folder)
            fill(disk, 0)
            with pytest.raises(RepositoryError, match="No space left"):
                own.remove("tiny")
            assert visible(own.folder) == before
            (disk / "filler").unlink()
            fill(disk, 16384)
            assert own.remove("tiny") == []
            assert set(visible(own.folder)) == {"config_embeddings.json"}

    def test_removing_from_a_disk_that_is_read_only(self, repository: ModelRepository, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            before = visible(own.folder)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            with pytest.raises(RepositoryError, match="cannot be written: Read-only file system"):
                own.remove("tiny")
            assert visible(own.folder) == before

    @pytest.mark.parametrize("files", [3, 5, 7, 16])
    def test_no_room_for_more_files(
        self, files: int, tiny_bert: Path, tmp_path: Path, fail: Callable[..., str]
    ) -> None:
        with small_disk(tmp_path / "disk", f"size=8m,nr_inodes={files}") as disk:
            (disk / "models").mkdir()
            assert "No space left" in fail(disk / "models", str(tiny_bert))

    def test_a_disk_that_is_read_only(
        self, repository: ModelRepository, tiny_bert: Path, tmp_path: Path, fail: Callable[..., str]
    ) -> None:
        with small_disk(tmp_path / "disk", "size=8m") as disk:
            own = publish_copy(repository, disk / "models")
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert "cannot be written: Read-only file system" in fail(own.folder, str(tiny_bert), "--name", "tiny")


def fill(disk: Path, room: int) -> None:
    """Leave that many bytes free."""
    with (disk / "filler").open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(disk).free - room))


# Killed exports: a server process that has the libraries imported forks one process for each.


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "optimum.exporters.openvino", "optimum.intel", "transformers", __name__])
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def end(process: BaseProcess) -> int:
    process.join(timeout=60)
    if process.exitcode is None:
        process.kill()
        pytest.fail("the export hangs")
    return process.exitcode


def calibrate(reached: Event, source: str, folder: str) -> None:
    """Export in full int8; tells when calibration begins, and waits to be killed once it is over."""

    def on_step(label: str) -> None:
        if reached.is_set():
            signal.pause()
        if label == "Calibrating and writing full int8":
            reached.set()

    request = ExportRequest(source, name="tiny", precision="full-int8", overwrite=True)
    export_model(request, ModelRepository(folder), on_step=on_step)


def export_until(step: str, ending: int, source: str, folder: str, name: str) -> None:
    """Export in this process, which sends itself `ending` when the step begins."""

    def on_step(label: str) -> None:
        if label == step:
            os.kill(os.getpid(), ending)

    request = ExportRequest(source, name=name, precision="fp32", pooling="cls", overwrite=True)
    export_model(request, ModelRepository(folder), on_step=on_step)


def publish_until(event: int, source: str, folder: str, name: str) -> None:
    """Publish a copy of `source`; this process dies at the file operation of that number."""
    repository = ModelRepository(folder)
    with repository.stage() as staged:
        shutil.copytree(source, staged.folder, dirs_exist_ok=True)
        die_at(event)
        repository.publish(staged, name, overwrite=True)


def remove_until(event: int, folder: str, name: str) -> None:
    """Remove a model; this process dies at the file operation of that number."""
    repository = ModelRepository(folder)
    die_at(event)
    repository.remove(name)


def die_at(event: int) -> None:
    """From now on, count this process's file operations; it is killed at the one of that number."""
    seen = 0

    def on_event(kind: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if kind in {"open", "ctypes.dlopen", "ctypes.dlsym", "fcntl.flock"} or kind.startswith(("os.", "shutil.")):
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)


def race(source: str, folder: str, name: str, together: Barrier, ends: SimpleQueue[str]) -> None:
    """Export once all have found the name free; what came of it goes into `ends`."""

    def on_step(label: str) -> None:
        if label == "Publishing":
            together.wait(timeout=60)

    try:
        export_model(ExportRequest(source, name=name, precision="fp32"), ModelRepository(folder), on_step=on_step)
    except OvembedError as error:
        ends.put(f"{exit_code(error)} {error}")
    else:
        ends.put("0")


@pytest.fixture
def cls(repository: ModelRepository, tmp_path: Path) -> Path:
    """The files of a model that is to replace `tiny`."""
    folder = shutil.copytree(repository.folder / "tiny", tmp_path / "cls")
    edit_json(folder / "ovembed.json", versions={"new": "1"})
    return folder


class TestKilled:
    @pytest.mark.parametrize("name", ["tiny", "other"])
    @pytest.mark.parametrize("step", STEPS)
    def test_as_a_step_begins(self, step: str, name: str, tiny_bert: Path, own: ModelRepository) -> None:
        before = visible(own.folder)
        process = start(export_until, step, signal.SIGKILL, str(tiny_bert), str(own.folder), name)
        assert end(process) == -signal.SIGKILL
        assert visible(own.folder) == before
        assert len(workplaces(own.folder)) == (step != STEPS[0])
        with own.stage():
            assert len(workplaces(own.folder)) == 1
        assert workplaces(own.folder) == []

    @pytest.mark.parametrize("seconds", [0, 0.2, 0.6, 1.5])
    def test_while_it_calibrates(self, seconds: float, tiny_bert: Path, own: ModelRepository) -> None:
        before = visible(own.folder)
        reached = multiprocessing.get_context("forkserver").Event()
        process = start(calibrate, reached, str(tiny_bert), str(own.folder))
        assert reached.wait(timeout=60)
        process.join(timeout=seconds)
        process.kill()
        assert end(process) == -signal.SIGKILL
        assert visible(own.folder) == before
        own.clean_up()
        assert workplaces(own.folder) == []

    @pytest.mark.parametrize("seconds", [0.1, 0.4, 0.9, 1.6, 2.5])
    def test_at_any_moment(self, seconds: float, tiny_bert: Path, own: ModelRepository) -> None:
        before = visible(own.folder)
        process = start(export_until, "never", 0, str(tiny_bert), str(own.folder), "tiny")
        process.join(timeout=seconds)
        process.kill()
        if end(process) == -signal.SIGKILL and own.get("tiny").spec.pooling == "mean":
            assert visible(own.folder) == before
        else:
            assert own.get("tiny").spec.pooling == "cls"
            assert own.get("tiny").model_path.exists()
        with own.stage():
            pass
        assert workplaces(own.folder) == []

    @pytest.mark.parametrize("name", ["tiny", "other"])
    def test_at_every_file_operation_of_publishing(
        self, name: str, cls: Path, own: ModelRepository, tmp_path: Path
    ) -> None:
        """What can be seen is the old model or the new one, whole; one that is not served goes with the next export."""
        old, new = visible(own.folder / name), visible(cls)
        seen = set()
        for event in range(1, 200):
            folder = shutil.copytree(own.folder, tmp_path / f"models-{event}")
            killed = end(start(publish_until, event, str(cls), str(folder), name)) == -signal.SIGKILL
            files = visible(folder / name)
            assert files in (old, new)
            assert all((served.folder / "openvino_model.bin").exists() for served in ModelRepository(folder).models())
            served = name in ModelRepository(folder).names()
            seen.add((files == new, killed))
            with ModelRepository(folder).stage() as staged:
                assert workplaces(folder) == [staged.folder.parent.name]
            assert visible(folder / name) == (files if served else old)
            if not killed:
                break
        assert seen == {(False, True), (True, True), (True, False)}

    @pytest.mark.parametrize("name", ["tiny", "org/small"])
    def test_at_every_file_operation_of_removing(self, name: str, own: ModelRepository, tmp_path: Path) -> None:
        """The model is served and whole, or gone with the next export: no folder stays that nobody serves."""
        with own.stage() as staged:
            shutil.copytree(own.folder / "tiny", staged.folder, dirs_exist_ok=True)
            own.publish(staged, "org/small", overwrite=False)
        whole, others = visible(own.folder / name), set(own.names()) - {name}
        seen = set()
        for event in range(1, 200):
            repository = ModelRepository(shutil.copytree(own.folder, tmp_path / f"models-{event}"))
            killed = end(start(remove_until, event, str(repository.folder), name)) == -signal.SIGKILL
            served = name in repository.names()
            assert not served or visible(repository.folder / name) == whole
            assert set(repository.names()) - {name} == others
            seen.add((served, killed))
            repository.clean_up()
            assert workplaces(repository.folder) == []
            assert (repository.folder / name.split("/", maxsplit=1)[0]).exists() == served
            if not killed:
                break
        assert seen == {(True, True), (False, True), (False, False)}


class TestRacing:
    """Exports in processes of their own, each of which found its name free before any is published."""

    def end_of(self, names: Sequence[str], source: Path, own: ModelRepository) -> list[str]:
        context = multiprocessing.get_context("forkserver")
        together, ends = context.Barrier(len(names)), context.SimpleQueue()
        processes = [start(race, str(source), str(own.folder), name, together, ends) for name in names]
        assert [end(process) for process in processes] == [0] * len(names)
        return sorted(ends.get() for _ in names)

    def test_one_name_has_one_winner(self, tiny_bert: Path, own: ModelRepository) -> None:
        won, lost = self.end_of(["new", "new"], tiny_bert, own)
        assert won == "0"
        assert lost == (f"1 {own.folder}/new exists already. Replace it with --overwrite, or choose another --name.")
        assert own.names() == ["tiny", "new"]
        assert own.get("new").model_path.exists()
        assert workplaces(own.folder) == []

    def test_two_names_are_both_served(self, tiny_bert: Path, own: ModelRepository) -> None:
        assert self.end_of(["one", "org/two"], tiny_bert, own) == ["0", "0"]
        assert sorted(own.names()) == ["one", "org/two", "tiny"]
        assert all(entry.model_path.exists() for entry in own.models())
        assert workplaces(own.folder) == []


class TestInterrupted:
    @pytest.mark.parametrize("step", [STEPS[1], STEPS[3]])
    def test_at_a_step_it_cleans_up(self, step: str, tiny_bert: Path, own: ModelRepository) -> None:
        before = visible(own.folder)
        process = start(export_until, step, signal.SIGINT, str(tiny_bert), str(own.folder), "tiny")
        assert end(process) != 0
        assert visible(own.folder) == before
        assert workplaces(own.folder) == []

    def test_the_command_ends_with_130_and_no_traceback(self, tiny_bert: Path, own: ModelRepository) -> None:
        before = visible(own.folder)
        command = [sys.executable, "-m", "ovembed", "export", str(tiny_bert), "-r", str(own.folder), "--name", "tiny"]
        with subprocess.Popen([*command, "--overwrite"], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("  Looking for the model")
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.returncode == 130
        assert "Traceback" not in rest
        assert visible(own.folder) == before
        assert workplaces(own.folder) == []
