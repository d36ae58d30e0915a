"""`ovembed models`: what it shows, what it says when something is wrong, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from ovembed import ModelRepository
from ovembed.cli.main import main
from ovembed.errors import RepositoryError
from ovembed.repository import Golden, Tried, write_golden, write_model
from ovembed.repository import repository as repository_module
from tests.cli import failure, ovembed
from tests.fakes import make_entry
from tests.folders import visible, workplaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.repository import ModelEntry


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of a command that failed."""
        assert (self.code, self.out) == (1, "")
        assert self.err.count("\n") == 1
        assert self.err.startswith("ovembed: ")
        return self.err.removeprefix("ovembed: ").rstrip("\n")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`ovembed models ...` in this process."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["ovembed", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        return Done(int(exit_.value.code or 0), out, err)

    return run


def publish(repository: ModelRepository, name: str) -> ModelEntry:
    """A model that can be looked at, not run."""
    with repository.stage() as staged:
        for file in ("graph.pbtxt", "openvino_model.xml", "openvino_model.bin"):
            (staged.folder / file).write_bytes(b"x" * 500_000)
        write_model(make_entry(staged.folder, name))
        return repository.publish(staged, name, overwrite=False)


def publish_copy(source: ModelEntry, repository: ModelRepository, name: str) -> Path:
    with repository.stage() as staged:
        shutil.copytree(source.folder, staged.folder, dirs_exist_ok=True)
        return repository.publish(staged, name, overwrite=False).folder


@pytest.fixture
def own(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


@pytest.fixture
def two(own: ModelRepository) -> ModelRepository:
    publish(own, "a")
    publish(own, "org/b")
    return own


@pytest.fixture
def tiny(repository: ModelRepository, own: ModelRepository) -> Path:
    """The folder of a model that can be run, in a repository of its own."""
    return publish_copy(repository.get("tiny"), own, "tiny")


def add_foreign(repository: ModelRepository) -> dict[str, Any]:
    """What another program wrote into the configuration file."""
    (repository.folder / "llm").mkdir(parents=True)
    (repository.folder / "llm" / "graph.pbtxt").touch()
    content: dict[str, Any] = {"model_config_list": []}
    if repository.config_path.exists():
        content = json.loads(repository.config_path.read_text(encoding="utf-8"))
    content["monitoring"] = {"metrics": {"enable": True}}
    content["model_config_list"].append({"config": {"name": "resnet", "base_path": "/models/resnet", "nireq": 4}})
    content.setdefault("mediapipe_config_list", []).append(
        {"name": "llm", "base_path": "llm", "graph_path": "tuned.pbtxt", "note": "caf\u00e9"}
    )
    repository.config_path.write_text(json.dumps(content), encoding="utf-8")
    return content


class TestList:
    @pytest.mark.parametrize("command", [("list",), ()], ids=["list", "nothing"])
    def test_a_row_for_each_model(self, command: tuple[str], two: ModelRepository, run: Callable[..., Done]) -> None:
        if not command:
            two.folder.rename(Path("models"))
            two = ModelRepository("models")
        done = run(*command, *(("-r", two.folder) if command else ()))
        assert (done.code, done.err) == (0, "")
        header, *rows = [line.split() for line in done.out.splitlines() if line.strip(" \u2500")]
        assert header == ["Name", "Precision", "Dim.", "Tokens", "Size", "Cosine", "Fingerprint"]
        fingerprint = two.get("a").spec.fingerprint
        assert rows == [[name, "fp32", "8", "16", "1.0", "MB", "0.99950", fingerprint] for name in ("a", "org/b")]

    @pytest.fixture(autouse=True)
    def _in_a_folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")

    def test_json(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        add_foreign(two)
        done = run("list", "-r", two.folder, "--json")
        told = json.loads(done.out)
        assert (done.code, done.err) == (0, "")
        assert set(told) == {"models", "unreadable", "others"}
        assert told["models"] == [
            entry.to_json() | {"folder": str(entry.folder), "size_bytes": 1_000_000} for entry in two.models()
        ]
        assert (told["unreadable"], told["others"]) == ({}, ["llm"])

    def test_graphs_of_others_are_shown_as_such(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        add_foreign(two)
        rows = run("list", "-r", two.folder).out.splitlines()
        assert [row.split(maxsplit=1)[1].strip() for row in rows if row.startswith("llm ")] == ["not made by ovembed"]

    def test_a_name_is_no_markup(self, own: ModelRepository, run: Callable[..., Done]) -> None:
        own.folder.mkdir()
        own.config_path.write_text('{"mediapipe_config_list": [{"name": "[red]x[/red]"}]}', encoding="utf-8")
        assert "[red]x[/red]" in run("list", "-r", own.folder).out

    @pytest.mark.parametrize("made", [False, True])
    def test_an_empty_repository_says_what_to_do(
        self, made: bool, own: ModelRepository, run: Callable[..., Done]
    ) -> None:
        if made:
            own.folder.mkdir()
        done = run("list", "-r", own.folder)
        assert (done.code, done.out) == (0, "")
        assert done.err == f"{own.folder}/ holds no model. Export one: ovembed export SOURCE\n"
        told = json.loads(run("list", "-r", own.folder, "--json").out)
        assert told == {"models": [], "unreadable": {}, "others": []}
        assert own.folder.exists() == made

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda folder: (folder / "ovembed.json").write_text("{"), "a/ovembed.json is damaged"),
            (lambda folder: (folder / "ovembed.json").write_text('{"format": 99}'), "written by a newer ovembed"),
            (lambda folder: (folder / "ovembed.json").write_text('{"format": 1}'), "written by an older ovembed"),
            (lambda folder: (folder / "openvino_model.bin").unlink(), "openvino_model.bin cannot be read: No such"),
            (
                lambda folder: write_model(_with_version(folder, "2031.1")),
                "OVMS 2031.1 is newer than this ovembed knows",
            ),
        ],
        ids=["damaged", "newer", "older", "weights missing", "unknown OVMS"],
    )
    def test_a_model_that_cannot_be_read_does_not_hide_the_others(
        self, damage: Callable[[Path], object], words: str, two: ModelRepository, run: Callable[..., Done]
    ) -> None:
        damage(two.get("a").folder)
        done = run("list", "-r", two.folder)
        assert done.code == 0
        rows = [line.split() for line in done.out.splitlines()]
        assert ["a", "unreadable"] in rows
        assert any(row[:2] == ["org/b", "fp32"] for row in rows)
        assert words in done.err
        assert done.err.count("\n") == 1
        told = json.loads(run("list", "-r", two.folder, "--json").out)
        assert [model["name"] for model in told["models"]] == ["org/b"]
        assert list(told["unreadable"]) == ["a"]
        assert words in told["unreadable"]["a"]

    def test_a_configuration_that_is_none_is_one_line(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        two.config_path.write_text("[", encoding="utf-8")
        assert "is not an OVMS configuration" in run("list", "-r", two.folder).message

    def test_it_fits_a_terminal_of_80_columns(
        self, own: ModelRepository, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        publish(own, "multilingual-e5")
        assert len(run("list", "-r", own.folder).out.strip().splitlines()) == 3


def _with_version(folder: Path, version: str) -> ModelEntry:
    from dataclasses import replace

    return replace(make_entry(folder, "a"), ovms_version=version)


class TestShow:
    def test_recipe_fidelity_and_fingerprint(self, repository: ModelRepository, run: Callable[..., Done]) -> None:
        done = run("show", "minilm", "-r", repository.folder)
        entry = repository.get("minilm")
        assert (done.code, done.err) == (0, "")
        for words in (
            "1_Pooling/config.json",
            "sentence_bert_config.json",
            f"{entry.fidelity.mean:.5f}",
            f"{entry.fidelity.first_percentile:.5f}",
            f"{entry.fidelity.minimum:.5f}",
            f"{entry.fidelity.neighbours:.1%}",
            f"{entry.fidelity.batch_minimum:.5f}",
            f"{entry.efficiency.speedup:.2f}x",
            "not finite",
            entry.spec.fingerprint,
            str(entry.folder),
        ):
            assert words in done.out
        assert "Tried" not in done.out

    def test_the_precisions_that_stood_for_choice(self, own: ModelRepository, run: Callable[..., Done]) -> None:
        from dataclasses import replace

        entry = publish(own, "a")
        tried = (
            Tried("full-int8", problem="no [bold]use[/bold]"),
            Tried("int8", entry.fidelity, entry.efficiency),
            Tried("fp32", entry.fidelity, entry.efficiency),
        )
        write_model(replace(entry, tried=tried))
        out = run("show", "a", "-r", own.folder).out
        assert "> fp32" in out
        assert "  int8" in out
        assert "[bold]use[/bold]" in out

    def test_json_is_what_the_file_says_its_place_and_size(
        self, repository: ModelRepository, run: Callable[..., Done]
    ) -> None:
        done = run("show", "minilm", "-r", repository.folder, "--json")
        told = json.loads(done.out)
        entry = repository.get("minilm")
        written = json.loads((entry.folder / "ovembed.json").read_text(encoding="utf-8"))
        assert told == written | {"folder": str(entry.folder), "size_bytes": entry.size_bytes}
        assert set(told["fidelity"]) == {
            "texts",
            "mean",
            "first_percentile",
            "minimum",
            "neighbours",
            "batch_minimum",
        }
        assert set(told["efficiency"]) == {"tokens_per_s", "speedup", "size_ratio"}

    @pytest.mark.parametrize("command", ["show", "verify", "remove"])
    def test_an_unknown_name_is_told_with_those_there_are(
        self, command: str, two: ModelRepository, run: Callable[..., Done]
    ) -> None:
        before = visible(two.folder)
        assert f"No model 'x' in {two.folder}/ (it has: a, org/b)" in run(command, "x", "-r", two.folder).message
        assert visible(two.folder) == before

    @pytest.mark.parametrize("command", ["show", "verify", "remove"])
    def test_a_repository_that_is_not_there_stays_so(
        self, command: str, own: ModelRepository, run: Callable[..., Done]
    ) -> None:
        assert "(it has none)" in run(command, "x", "-r", own.folder).message
        assert not own.folder.exists()

    @pytest.mark.parametrize("command", ["show", "verify", "remove"])
    def test_a_name_is_needed(self, command: str, run: Callable[..., Done]) -> None:
        assert run(command).code == 2


class TestVerify:
    def test_a_sound_model(self, repository: ModelRepository, run: Callable[..., Done]) -> None:
        done = run("verify", "minilm", "-r", repository.folder)
        assert (done.code, done.err) == (0, "")
        assert "ok" in done.out.split()
        assert "1.00000" in done.out

    def test_json(self, repository: ModelRepository, run: Callable[..., Done]) -> None:
        done = run("verify", "tiny", "-r", repository.folder, "--json")
        told = json.loads(done.out)
        entry = repository.get("tiny")
        assert (done.code, done.err) == (0, "")
        assert set(told) == {"name", "fingerprint", "texts", "lowest_to_recorded", "mean_to_source", "passed"}
        assert (told["name"], told["fingerprint"]) == ("tiny", entry.spec.fingerprint)
        assert (told["texts"], told["passed"]) == (entry.fidelity.texts, True)
        assert told["lowest_to_recorded"] > 0.9999
        assert told["mean_to_source"] == pytest.approx(entry.fidelity.mean, abs=1e-5)

    @pytest.mark.parametrize("as_json", [False, True])
    def test_damaged_weights_fail(self, as_json: bool, tiny: Path, run: Callable[..., Done]) -> None:
        weights = tiny / "openvino_model.bin"
        content = weights.read_bytes()
        numbers = np.frombuffer(content[: len(content) // 4 * 4], dtype=np.float32).copy()
        ordinary = (np.abs(numbers) > 1e-3) & (np.abs(numbers) < 10)  # what is left holds shapes and indices
        numbers[ordinary] = numbers[ordinary][::-1]
        weights.write_bytes(numbers.tobytes() + content[numbers.nbytes :])
        done = run("verify", "tiny", "-r", tiny.parent, *(["--json"] if as_json else []))
        assert done.code == 1
        assert "Traceback" not in done.err
        if as_json:
            told = json.loads(done.out)
            assert not told["passed"]
            assert told["lowest_to_recorded"] < 0.99
        else:
            assert "FAILED" in done.out.split()

    @pytest.mark.parametrize("content", [b"", b"\xff" * 400_000], ids=["empty", "not finite"])
    def test_weights_that_cannot_be_run_are_one_line(
        self, content: bytes, tiny: Path, run: Callable[..., Done]
    ) -> None:
        (tiny / "openvino_model.bin").write_bytes(content)
        assert run("verify", "tiny", "-r", tiny.parent).message

    @pytest.mark.parametrize("file", ["openvino_model.xml", "openvino_model.bin", "tokenizer.json", "golden.npz"])
    def test_a_missing_file_is_named(self, file: str, tiny: Path, run: Callable[..., Done]) -> None:
        (tiny / file).unlink()
        message = run("verify", "tiny", "-r", tiny.parent).message
        assert str(tiny) in message
        assert file.split(".", maxsplit=1)[0] in message

    @pytest.mark.parametrize("file", ["openvino_model.xml", "tokenizer.json", "golden.npz", "ovembed.json"])
    def test_a_damaged_file_is_named(self, file: str, tiny: Path, run: Callable[..., Done]) -> None:
        os.truncate(tiny / file, (tiny / file).stat().st_size // 2)
        message = run("verify", "tiny", "-r", tiny.parent).message
        assert str(tiny) in message
        assert file.split(".", maxsplit=1)[0] in message

    def test_vectors_of_another_length_are_no_match(self, tiny: Path, run: Callable[..., Done]) -> None:
        rows = np.ones((2, 8), dtype=np.float32)
        write_golden(tiny, Golden(("one", "two"), rows, rows))
        assert f"{tiny}/golden.npz" in run("verify", "tiny", "-r", tiny.parent).message


class TestRemove:
    def test_it_leaves_the_configuration_and_the_disk(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        done = run("remove", "a", "-r", two.folder)
        assert done == Done(0, "", "'a' is removed.\n")
        assert two.names() == ["org/b"]
        assert not (two.folder / "a").exists()
        assert (two.folder / "org" / "b" / "ovembed.json").exists()
        assert workplaces(two.folder) == []

    def test_a_name_with_a_slash_leaves_no_empty_folder(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        assert run("remove", "org/b", "-r", two.folder).code == 0
        assert set(visible(two.folder)) >= {"a", "config_embeddings.json"}
        assert not (two.folder / "org").exists()

    def test_a_folder_with_something_else_in_it_stays(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        publish(two, "org/c")
        assert run("remove", "org/b", "-r", two.folder).code == 0
        assert [path.name for path in (two.folder / "org").iterdir()] == ["c"]

    def test_the_last_one_leaves_a_configuration_that_ovms_takes(
        self, own: ModelRepository, run: Callable[..., Done]
    ) -> None:
        publish(own, "a")
        assert run("remove", "a", "-r", own.folder).code == 0
        content = json.loads(own.config_path.read_text(encoding="utf-8"))
        assert content == {"model_config_list": [], "mediapipe_config_list": []}

    @pytest.mark.parametrize("as_json", [False, True])
    def test_files_that_another_configuration_serves_stay(
        self, as_json: bool, two: ModelRepository, tmp_path: Path, run: Callable[..., Done]
    ) -> None:
        second = two.folder / "second.json"
        shutil.copy(two.config_path, second)
        (two.folder / "notes.json").write_text("[1, 2", encoding="utf-8")
        done = run("remove", "a", "-r", two.folder, *(["--json"] if as_json else []))
        assert done.code == 0
        if as_json:
            assert json.loads(done.out) == {"removed": "a", "still_served_by": [str(second)]}
        else:
            assert "Its files stay" in done.err
            assert str(second) in done.err
        assert two.names() == ["org/b"]
        assert ModelRepository(two.folder, second).get("a").folder.is_dir()
        done = run("remove", "a", "-r", two.folder, "--config", second, "--json")
        assert json.loads(done.out) == {"removed": "a", "still_served_by": []}
        assert not (two.folder / "a").exists()

    def test_a_second_name_for_the_same_folder_keeps_its_files(
        self, own: ModelRepository, run: Callable[..., Done]
    ) -> None:
        publish(own, "a")
        content = json.loads(own.config_path.read_text(encoding="utf-8"))
        content["mediapipe_config_list"].append({"name": "alias", "base_path": "a"})
        own.config_path.write_text(json.dumps(content), encoding="utf-8")
        assert run("remove", "a", "-r", own.folder, "--json").code == 0
        assert own.names() == ["alias"]
        assert own.get("alias").folder.is_dir()
        assert run("remove", "alias", "-r", own.folder).code == 0
        assert not (own.folder / "a").exists()

    def test_a_configuration_elsewhere(self, tmp_path: Path, run: Callable[..., Done]) -> None:
        repository = ModelRepository(tmp_path / "models", tmp_path / "etc" / "config.json")
        repository.config_path.parent.mkdir()
        publish(repository, "org/b")
        assert run("remove", "org/b", "-r", repository.folder, "--config", repository.config_path).code == 0
        assert visible(repository.folder) == {}

    def test_a_graph_of_others_is_refused_in_one_line(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        add_foreign(two)
        before = visible(two.folder)
        assert run("remove", "llm", "-r", two.folder).message == (
            f"'llm' was not made by ovembed. Take it out of {two.config_path} by hand."
        )
        assert visible(two.folder) == before

    def test_what_others_wrote_is_kept_when_models_come_and_go(
        self, own: ModelRepository, run: Callable[..., Done]
    ) -> None:
        foreign = add_foreign(own)
        publish(own, "a")
        publish(own, "b")
        assert run("remove", "a", "-r", own.folder).code == 0
        content = json.loads(own.config_path.read_text(encoding="utf-8"))
        ours = [entry for entry in content["mediapipe_config_list"] if entry["name"] == "b"]
        assert content == foreign | {"mediapipe_config_list": foreign["mediapipe_config_list"] + ours}
        assert run("remove", "b", "-r", own.folder).code == 0
        assert json.loads(own.config_path.read_text(encoding="utf-8")) == foreign

    def test_a_model_that_cannot_be_read_can_be_removed(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        (two.folder / "a" / "ovembed.json").write_text("{", encoding="utf-8")
        assert run("remove", "a", "-r", two.folder).code == 0
        assert not (two.folder / "a").exists()

    def test_quiet(self, two: ModelRepository, run: Callable[..., Done]) -> None:
        assert run("remove", "a", "-r", two.folder, "-q") == Done(0, "", "")

    def test_a_folder_that_cannot_be_moved_stays_served(
        self, two: ModelRepository, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
    ) -> None:
        before = visible(two.folder)
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == two.folder / "a":
                raise PermissionError(13, "Permission denied")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
        assert "cannot be written: Permission denied" in run("remove", "a", "-r", two.folder).message
        assert visible(two.folder) == before
        assert workplaces(two.folder) == []

    def test_a_configuration_that_cannot_be_written_changes_nothing(
        self, two: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = visible(two.folder)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(repository_module.config, "write", full)
        with pytest.raises(RepositoryError, match="No space left"):
            two.remove("a")
        assert visible(two.folder) == before

    def test_of_two_at_once_one_finds_nothing(self, two: ModelRepository) -> None:
        again = ModelRepository(two.folder)
        assert two.remove("a") == []
        with pytest.raises(Exception, match="No model 'a'"):
            again.remove("a")


class TestProcess:
    """As a user runs it; one process each, for the whole way through the program."""

    def test_json_alone_on_stdout(self, repository: ModelRepository) -> None:
        done = ovembed("models", "list", "-r", str(repository.folder), "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        assert [model["name"] for model in json.loads(done.stdout)["models"]] == repository.names()

    def test_verify_then_remove(self, tiny: Path) -> None:
        done = ovembed("models", "verify", "tiny", "-r", str(tiny.parent), "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["passed"] is True
        done = ovembed("models", "remove", "tiny", "-r", str(tiny.parent))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"'tiny' is removed.\n")
        assert "No model 'tiny'" in failure(ovembed("models", "show", "tiny", "-r", str(tiny.parent)))

    def test_looking_at_models_loads_no_inference(self, two: ModelRepository) -> None:
        """Listing is quick: neither OpenVINO nor the packages of the export are imported."""
        import subprocess

        script = (
            "import sys; sys.argv = ['ovembed', 'models', 'show', 'a', '-r', sys.argv[1]]\n"
            "from ovembed.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            "heavy = {'openvino', 'torch', 'transformers', 'nncf', 'optimum'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", script, str(two.folder)], check=True, capture_output=True)


def test_the_list_takes_its_options_without_its_name(two: ModelRepository, run: Callable[..., Done]) -> None:
    assert run("-r", two.folder, "--json") == run("list", "-r", two.folder, "--json")


def test_options_before_another_command_are_refused(two: ModelRepository, run: Callable[..., Done]) -> None:
    done = run("-r", two.folder, "show", "a")
    assert done.code == 2
    assert "options come after the command: ovembed models show" in done.err
