from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ovembed.errors import InputError, ModelNotFound, RepositoryError
from ovembed.repository import ModelEntry, ModelRepository, config, read_model, write_model
from ovembed.repository import repository as repository_module
from ovembed.repository.files import replace_file, swap_folders, writing
from tests.fakes import make_entry, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[1]


def publish(
    repository: ModelRepository, name: str, *, overwrite: bool = False, weights: str = "weights", **spec: object
) -> ModelEntry:
    with repository.stage() as staged:
        (staged.folder / "graph.pbtxt").write_text("graph", encoding="utf-8")
        (staged.folder / "openvino_model.xml").write_text("xml", encoding="utf-8")
        (staged.folder / "openvino_model.bin").write_text(weights, encoding="utf-8")
        write_model(make_entry(staged.folder, name, **spec))
        return repository.publish(staged, name, overwrite=overwrite)


def weights_of(repository: ModelRepository, name: str) -> str:
    return (repository.get(name).folder / "openvino_model.bin").read_text(encoding="utf-8")


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that a server or a user can see: the hidden staging folder is not."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".staging" not in path.parts
    }


def workplaces(folder: Path) -> list[Path]:
    return [path for path in (folder / ".staging").iterdir() if path.is_dir()]


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


class TestConfig:
    def test_golden_text(self, tmp_path: Path) -> None:
        config.write(tmp_path / "config.json", config.ServingConfig({}, {}).with_graph("org/model", "org/model"))
        assert (tmp_path / "config.json").read_text(encoding="utf-8") == (
            "{\n"
            '  "model_config_list": [],\n'
            '  "mediapipe_config_list": [\n'
            "    {\n"
            '      "name": "org/model",\n'
            '      "base_path": "org/model"\n'
            "    }\n"
            "  ]\n"
            "}\n"
        )

    def test_no_file_is_an_empty_config(self, tmp_path: Path) -> None:
        assert config.read(tmp_path / "config.json") == config.ServingConfig({}, {})

    def test_round_trip_keeps_what_belongs_to_others(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        foreign = {
            "monitoring": {"metrics": {"enable": True}},
            "model_config_list": [{"config": {"name": "resnet", "base_path": "/models/resnet"}}],
            "mediapipe_config_list": [
                {"name": "llm", "base_path": "llm", "graph_path": "tuned.pbtxt", "subconfig": "sub.json"},
                {"name": "mine", "base_path": "old", "graph_queue_size": 4},
                {"name": "bare"},
            ],
        }
        path.write_text(json.dumps(foreign), encoding="utf-8")
        config.write(path, config.read(path).with_graph("mine", "new").with_graph("added", "added"))
        written = json.loads(path.read_text(encoding="utf-8"))
        assert written["monitoring"] == foreign["monitoring"]
        assert written["model_config_list"] == foreign["model_config_list"]
        assert written["mediapipe_config_list"] == [
            {"name": "llm", "base_path": "llm", "graph_path": "tuned.pbtxt", "subconfig": "sub.json"},
            {"name": "mine", "base_path": "new", "graph_queue_size": 4},
            {"name": "bare"},
            {"name": "added", "base_path": "added"},
        ]

    def test_a_graph_without_a_base_path_lies_in_the_folder_of_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        path.write_text('{"mediapipe_config_list": [{"name": "bare"}]}', encoding="utf-8")
        assert config.read(path).base_path("bare") == "bare"

    def test_classic_graphs_come_first_and_otherwise_the_order_stays(self) -> None:
        serving = config.ServingConfig({}, {})
        for name in "abcd":
            serving = serving.with_graph(name, name)
        assert serving.with_classic_first({"d", "b"}).names == ["b", "d", "a", "c"]
        assert serving.with_classic_first(set()) == serving

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"\xff",
            b'{"mediapipe_config_list": 1}',
            b'{"mediapipe_config_list": ["a"]}',
            b'{"mediapipe_config_list": [{"base_path": "a"}]}',
            b'{"model_config_list": 1}',
            b'{"model_config_list": [{"name": "a"}]}',
            b'{"model_config_list": [{"config": {"base_path": "a"}}]}',
        ],
    )
    def test_a_broken_file_is_named_and_never_overwritten(self, content: bytes, repository: ModelRepository) -> None:
        publish(repository, "a")
        repository.config_path.write_bytes(content)
        before = files_of(repository.folder)
        uses: list[Callable[[], object]] = [repository.names, lambda: publish(repository, "b")]
        for use in uses:
            with pytest.raises(RepositoryError, match=r"is not an OVMS configuration .*--config") as caught:
                use()
            assert str(repository.config_path) in str(caught.value)
            assert "\n" not in str(caught.value)
        assert files_of(repository.folder) == before

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RepositoryError, match="cannot be read: Is a directory"):
            config.read(tmp_path)


class TestModel:
    def test_round_trip(self, tmp_path: Path) -> None:
        entry = make_entry(tmp_path, "org/é5", prompts={"query": "fïnd: "}, default_prompt="query")
        write_model(entry)
        assert read_model(tmp_path) == entry

    def test_the_fingerprint_is_written_for_other_readers(self, tmp_path: Path) -> None:
        entry = make_entry(tmp_path)
        write_model(entry)
        content = json.loads((tmp_path / "ovembed.json").read_text(encoding="utf-8"))
        assert (content["format"], content["fingerprint"]) == (1, entry.spec.fingerprint)

    def test_size_is_that_of_the_encoder(self, tmp_path: Path) -> None:
        for name, size in {"openvino_model.xml": 3, "openvino_model.bin": 40, "openvino_tokenizer.bin": 500}.items():
            (tmp_path / name).write_bytes(b"x" * size)
        assert make_entry(tmp_path).size_bytes == 43

    def test_a_folder_without_the_file_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(RepositoryError, match=r"holds no exported model .*ovembed export SOURCE"):
            read_model(tmp_path)

    def test_a_newer_format_asks_for_an_update(self, tmp_path: Path) -> None:
        (tmp_path / "ovembed.json").write_text('{"format": 2, "name": 7}', encoding="utf-8")
        with pytest.raises(RepositoryError, match=r"written by a newer ovembed\. Update: pip install -U ovembed"):
            read_model(tmp_path)

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"format": "1"}', '{"format": 1, "name": "a"}'])
    def test_a_damaged_file_is_named(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "ovembed.json").write_text(content, encoding="utf-8")
        with pytest.raises(RepositoryError, match=r"ovembed\.json is damaged .*Export the model again"):
            read_model(tmp_path)

    @pytest.mark.parametrize(
        ("field", "value"), [("spec", {}), ("spec", []), ("decisions", [{"a": 1}]), ("decisions", 3), ("fidelity", {})]
    )
    def test_a_damaged_field_is_noticed(self, field: str, value: Any, tmp_path: Path) -> None:
        content = make_entry(tmp_path).to_json() | {field: value}
        (tmp_path / "ovembed.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(RepositoryError, match="is damaged"):
            read_model(tmp_path)


class TestFiles:
    def test_swapped_folders_have_changed_places(self, tmp_path: Path) -> None:
        for name in ("left", "right"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name, encoding="utf-8")
        assert swap_folders(tmp_path / "left", tmp_path / "right")
        assert (tmp_path / "left" / "file").read_text(encoding="utf-8") == "right"
        assert (tmp_path / "right" / "file").read_text(encoding="utf-8") == "left"

    def test_a_folder_that_is_missing_is_not_swapped(self, tmp_path: Path) -> None:
        (tmp_path / "left").mkdir()
        with pytest.raises(FileNotFoundError):
            swap_folders(tmp_path / "left", tmp_path / "right")
        assert (tmp_path / "left").is_dir()

    def test_a_reader_of_a_replaced_file_keeps_the_old_content(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        replace_file(path, "old")
        with path.open(encoding="utf-8") as reader:
            replace_file(path, "new")
            assert reader.read() == "old"
        assert files_of(tmp_path) == {"config.json": b"new"}

    def test_a_failed_replacement_leaves_the_old_file_and_nothing_beside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "config.json"
        path.write_text("old", encoding="utf-8")

        def fail(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(RepositoryError, match=r"No space left for .*--repository"), writing(tmp_path):
            replace_file(path, "new")
        assert files_of(tmp_path) == {"config.json": b"old"}


class TestReading:
    def test_names_are_in_the_order_of_the_config(self, repository: ModelRepository) -> None:
        for name in ("b", "org/a", "c"):
            publish(repository, name)
        publish(repository, "b", overwrite=True)
        assert repository.names() == ["b", "org/a", "c"]
        assert [entry.name for entry in repository.models()] == ["b", "org/a", "c"]

    def test_a_repository_that_is_not_there_is_empty(self, repository: ModelRepository) -> None:
        assert repository.names() == []
        assert repository.models() == []

    def test_a_missing_model_is_told_with_those_there_are(self, repository: ModelRepository) -> None:
        with pytest.raises(ModelNotFound, match=r"No model 'x' in .*models/ \(it has none\)"):
            repository.get("x")
        publish(repository, "a")
        publish(repository, "b")
        with pytest.raises(ModelNotFound, match=r"\(it has: a, b\)\. Export one: ovembed export SOURCE --name x"):
            repository.get("x")

    def test_a_model_has_the_name_it_is_served_by(self, repository: ModelRepository) -> None:
        entry = publish(repository, "a")
        write_model(replace(entry, name="another"))
        assert repository.get("a").name == "a"


class TestGraphsAmongTheModels:
    """From OVMS 2025.1 on, an entry of model_config_list whose folder holds a graph is one."""

    def listed(self, repository: ModelRepository, *entries: dict[str, Any], **other: Any) -> None:
        content = {"model_config_list": list(entries)} | other
        repository.config_path.parent.mkdir(exist_ok=True)
        repository.config_path.write_text(json.dumps(content), encoding="utf-8")

    def content(self, repository: ModelRepository) -> Any:
        return json.loads(repository.config_path.read_text(encoding="utf-8"))

    def place(self, repository: ModelRepository, folder: str, name: str = "m") -> Path:
        """A model of ours, as it lies in its folder."""
        path = repository.folder / folder
        path.mkdir(parents=True)
        (path / "graph.pbtxt").touch()
        write_model(make_entry(path, name))
        return path

    @pytest.mark.parametrize("absolute", [False, True])
    def test_they_are_served_by_the_name_they_have_there(self, absolute: bool, repository: ModelRepository) -> None:
        folder = self.place(repository, "somewhere")
        self.listed(repository, {"config": {"name": "m", "base_path": str(folder) if absolute else "somewhere"}})
        assert repository.names() == ["m"]
        assert repository.get("m").folder == folder

    def test_without_a_base_path_the_folder_has_the_name(self, repository: ModelRepository) -> None:
        folder = self.place(repository, "org/m")
        self.listed(repository, {"config": {"name": "org/m"}})
        assert repository.get("org/m").folder == folder

    def test_a_name_in_both_lists_is_one_model(self, repository: ModelRepository) -> None:
        self.place(repository, "m")
        graph = self.place(repository, "graph")
        self.listed(
            repository,
            {"config": {"name": "m", "base_path": "m"}},
            mediapipe_config_list=[{"name": "m", "base_path": "graph"}],
        )
        assert repository.names() == ["m"]
        assert repository.get("m").folder == graph
        publish(repository, "m", overwrite=True, weights="new")
        assert repository.names() == ["m"]
        assert weights_of(repository, "m") == "new"

    @pytest.mark.parametrize("base_path", ["resnet", "/models/resnet", "s3://bucket/resnet"])
    def test_models_are_not_graphs(self, base_path: str, repository: ModelRepository) -> None:
        (repository.folder / "resnet" / "1").mkdir(parents=True)
        self.listed(repository, {"config": {"name": "resnet", "base_path": base_path}})
        assert repository.names() == []
        with pytest.raises(ModelNotFound, match=r"No model 'resnet' .*it has none"):
            repository.get("resnet")
        with pytest.raises(InputError, match=r"'resnet' is taken by a model in .*config_embeddings\.json"):
            repository.check_name("resnet", overwrite=True)

    def test_an_export_keeps_every_entry_as_it_is(self, repository: ModelRepository) -> None:
        self.place(repository, "m")
        entries: list[dict[str, Any]] = [
            {"config": {"name": "m", "base_path": "m", "graph_path": "tuned.pbtxt", "new_key": [1]}, "beside": {}},
            {"config": {"name": "resnet", "base_path": "/models/resnet", "nireq": 4}},
        ]
        self.listed(repository, *entries, monitoring={"metrics": {"enable": True}}, future={"a": 1})
        publish(repository, "added")
        assert repository.names() == ["added", "m"]
        assert self.content(repository) == {
            "model_config_list": entries,
            "monitoring": {"metrics": {"enable": True}},
            "future": {"a": 1},
            "mediapipe_config_list": [{"name": "added", "base_path": "added"}],
        }

    @pytest.mark.parametrize("base_path", ["m", "./m", "ABSOLUTE"])
    def test_a_model_exported_again_is_not_listed_twice(self, base_path: str, repository: ModelRepository) -> None:
        folder = self.place(repository, "m")
        entry = {"config": {"name": "m", "base_path": base_path.replace("ABSOLUTE", str(folder)), "new_key": 1}}
        self.listed(repository, entry)
        publish(repository, "m", overwrite=True, weights="new")
        assert self.content(repository) == {"model_config_list": [entry], "mediapipe_config_list": []}
        assert weights_of(repository, "m") == "new"

    def test_one_that_led_elsewhere_leads_to_the_new_model(self, repository: ModelRepository) -> None:
        self.place(repository, "old")
        self.listed(repository, {"config": {"name": "m", "base_path": "old", "new_key": 1}, "beside": 2})
        publish(repository, "m", weights="new")
        moved = {"config": {"name": "m", "base_path": "m", "new_key": 1}, "beside": 2}
        assert self.content(repository) == {"model_config_list": [moved], "mediapipe_config_list": []}
        assert weights_of(repository, "m") == "new"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "/x",
            "x/",
            "a//b",
            ".hidden",
            "a/.b",
            "a/../b",
            "../x",
            "-x",
            "a b",
            "a\\b",
            "a\n",
            "é5",
            "a:b",
        ],
    )
    def test_what_is_no_plain_relative_path_is_refused(self, name: str, repository: ModelRepository) -> None:
        with pytest.raises(InputError, match="cannot be a model name"):
            publish(repository, name, overwrite=True)
        assert files_of(repository.folder) == {}

    @pytest.mark.parametrize("name", ["a", "A-1.5_b", "org/model", "a/b/c", "2nd", "_x"])
    def test_plain_names_and_names_with_slashes_are_fine(self, name: str, repository: ModelRepository) -> None:
        assert publish(repository, name).folder == repository.folder / name
        assert repository.get(name).spec == make_spec()

    @pytest.mark.parametrize(("first", "second"), [("org/a", "org"), ("org", "org/a"), ("a/b/c", "a"), ("a", "a/b/c")])
    def test_a_model_inside_another_is_refused(self, first: str, second: str, repository: ModelRepository) -> None:
        publish(repository, first)
        with pytest.raises(InputError, match=f"'{second}' would lie inside or around the model '{first}'"):
            publish(repository, second, overwrite=True)

    def test_a_name_that_begins_like_another_is_fine(self, repository: ModelRepository) -> None:
        for name in ("e5", "e5-small", "e", "org/e5", "org/e"):
            publish(repository, name)
        assert len(repository.names()) == 5

    def test_a_taken_name_is_refused_without_overwrite(self, repository: ModelRepository) -> None:
        publish(repository, "a", weights="old")
        with pytest.raises(InputError, match=r"models/a exists already\. Replace it with --overwrite"):
            publish(repository, "a", weights="new")
        assert weights_of(repository, "a") == "old"

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_that_is_no_model_is_never_replaced(self, overwrite: bool, repository: ModelRepository) -> None:
        mine = repository.folder / "photos"
        mine.mkdir(parents=True)
        (mine / "cat.jpg").write_text("cat", encoding="utf-8")
        with pytest.raises(InputError, match=r"photos exists and is no exported model\. Move it away"):
            publish(repository, "photos", overwrite=overwrite)
        assert files_of(repository.folder) == {"photos/cat.jpg": b"cat"}


class TestClassicFirst:
    """OVMS up to 2025.3 may stop loading classic graphs behind one that is not."""

    def publish_classic(self, repository: ModelRepository, name: str) -> None:
        with repository.stage() as staged:
            for path in ("graph.pbtxt", "embeddings/1/model.xml"):
                (staged.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (staged.folder / path).touch()
            write_model(make_entry(staged.folder, name))
            repository.publish(staged, name, overwrite=True)

    def test_classic_models_are_served_before_others_in_the_order_they_came(self, repository: ModelRepository) -> None:
        publish(repository, "a")
        self.publish_classic(repository, "b")
        publish(repository, "c")
        self.publish_classic(repository, "d")
        assert repository.names() == ["b", "d", "a", "c"]
        self.publish_classic(repository, "d")
        assert repository.names() == ["b", "d", "a", "c"]
        self.publish_classic(repository, "c")
        assert repository.names() == ["b", "d", "c", "a"]


class TestPublish:
    @pytest.fixture(params=["exchange", "two renames"])
    def _way_of_moving(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "two renames":
            monkeypatch.setattr(repository_module, "swap_folders", lambda *_: False)

    @pytest.mark.usefixtures("_way_of_moving")
    def test_overwriting_replaces_the_model_whole(self, repository: ModelRepository) -> None:
        old = publish(repository, "org/a", weights="old")
        (old.folder / "leftover").touch()
        new = publish(repository, "org/a", weights="new", pooling="cls", overwrite=True)
        assert new.spec.pooling == "cls"
        assert weights_of(repository, "org/a") == "new"
        assert not (new.folder / "leftover").exists()
        assert workplaces(repository.folder) == []

    @pytest.mark.usefixtures("_way_of_moving")
    def test_a_config_that_cannot_be_written_names_no_missing_model(
        self, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(repository, "a", weights="old")

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(config, "write", fail)
        with pytest.raises(RepositoryError, match="cannot be written: Input/output error"):
            publish(repository, "b")
        with pytest.raises(RepositoryError):
            publish(repository, "a", overwrite=True)
        assert [entry.name for entry in repository.models()] == ["a"]

    def test_a_published_model_is_served_from_its_name(self, repository: ModelRepository) -> None:
        publish(repository, "org/a")
        assert json.loads(repository.config_path.read_text(encoding="utf-8"))["mediapipe_config_list"] == [
            {"name": "org/a", "base_path": "org/a"}
        ]

    @pytest.mark.parametrize("place", ["elsewhere/config.json", "config.json", "models/sub/config.json"])
    def test_a_config_in_another_folder_finds_the_model(self, place: str, tmp_path: Path) -> None:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        repository = ModelRepository(tmp_path / "models", path)
        publish(repository, "org/a")
        base_path = config.read(path).base_path("org/a")
        assert not Path(base_path).is_absolute()
        assert (path.parent / base_path).resolve() == tmp_path / "models" / "org" / "a"
        assert ModelRepository(tmp_path / "models", path).get("org/a").spec == make_spec()

    def test_a_config_behind_a_symbolic_link_finds_the_model(self, tmp_path: Path) -> None:
        (tmp_path / "deep" / "down").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "deep" / "down")
        repository = ModelRepository(tmp_path / "models", tmp_path / "link" / "config.json")
        publish(repository, "a")
        assert repository.get("a").spec == make_spec()

    @pytest.mark.parametrize("folder", ["/proc/models", "file/models"])
    def test_a_place_that_cannot_be_written_is_told_in_one_line(self, folder: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        repository = ModelRepository(tmp_path / folder)
        with pytest.raises(RepositoryError, match=f"{folder} cannot be written: ") as caught:
            publish(repository, "a")
        assert "\n" not in str(caught.value)

    def test_two_exports_in_one_process_both_end_well(self, repository: ModelRepository) -> None:
        with repository.stage() as first, repository.stage() as second:
            for staged, name in ((first, "a"), (second, "b")):
                write_model(make_entry(staged.folder, name))
                repository.publish(staged, name, overwrite=False)
        assert repository.names() == ["a", "b"]

    def test_exports_at_the_same_time_lose_no_name(self, repository: ModelRepository) -> None:
        together = threading.Barrier(4, timeout=30)

        def export(name: str) -> None:
            together.wait()
            publish(repository, name)

        exports = [threading.Thread(target=export, args=(name,)) for name in "abcd"]
        for thread in exports:
            thread.start()
        for thread in exports:
            thread.join()
        assert sorted(repository.names()) == ["a", "b", "c", "d"]
        assert len(repository.models()) == 4


@contextmanager
def export_process(folder: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `script` in a staged folder of that repository; killed in the end."""
    lines = [
        "import os, signal, sys",
        "from pathlib import Path",
        "from ovembed.repository import ModelRepository, repository as module, write_model",
        "from tests.fakes import make_entry",
        "repository = ModelRepository(sys.argv[1])",
        "with repository.stage() as staged:",
        *(f"    {line}" for line in script.splitlines()),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), str(folder)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


WAIT = "print(staged.folder, flush=True)\nsys.stdin.read()"

DIE_BETWEEN_TWO_RENAMES = """\
write_model(make_entry(staged.folder, "org/a"))
module.swap_folders = lambda *_: False
rename = Path.rename
def rename_or_die(path, target):
    if path == staged.folder:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = rename_or_die
repository.publish(staged, "org/a", overwrite=True)
"""


DIE_BEFORE_THE_CONFIG = """\
write_model(make_entry(staged.folder, "org/new"))
module.config.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
repository.publish(staged, "org/new", overwrite=False)
"""


class TestStaging:
    def test_a_failed_export_leaves_the_repository_as_it_was(self, repository: ModelRepository) -> None:
        publish(repository, "a")
        before = files_of(repository.folder)

        def export() -> None:
            with repository.stage() as staged:
                (staged.folder / "openvino_model.bin").touch()
                (staged.scratch / "big").touch()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export()
        assert files_of(repository.folder) == before
        assert workplaces(repository.folder) == []

    def test_a_staged_folder_is_on_the_file_system_of_the_repository(self, repository: ModelRepository) -> None:
        with repository.stage() as staged:
            assert staged.folder.is_relative_to(repository.folder)
            assert list(staged.folder.iterdir()) == list(staged.scratch.iterdir()) == []
            assert repository.names() == []

    def test_folders_of_a_living_export_stay_and_those_of_a_dead_one_go(self, repository: ModelRepository) -> None:
        with export_process(repository.folder, WAIT) as export:
            assert export.stdout is not None
            folder = Path(export.stdout.readline().strip())
            with repository.stage():
                assert folder.is_dir()
            assert folder.is_dir()
            export.kill()
            export.wait(timeout=30)
            assert folder.is_dir()
            with repository.stage() as staged:
                assert workplaces(repository.folder) == [staged.folder.parent]

    def test_a_file_of_somebody_else_in_the_staging_folder_is_left_alone(self, repository: ModelRepository) -> None:
        (repository.folder / ".staging").mkdir(parents=True)
        (repository.folder / ".staging" / "note").touch()
        publish(repository, "a")
        assert (repository.folder / ".staging" / "note").exists()

    def test_a_model_moved_aside_by_a_killed_export_comes_back(self, repository: ModelRepository) -> None:
        publish(repository, "org/a", weights="old")
        with export_process(repository.folder, DIE_BETWEEN_TWO_RENAMES) as export:
            assert export.wait(timeout=60) == -signal.SIGKILL
        assert not (repository.folder / "org" / "a").exists()
        with repository.stage():
            assert weights_of(repository, "org/a") == "old"
        assert workplaces(repository.folder) == []

    def test_a_new_model_that_a_killed_export_did_not_list_goes_again(self, repository: ModelRepository) -> None:
        publish(repository, "a")
        before = files_of(repository.folder)
        with export_process(repository.folder, DIE_BEFORE_THE_CONFIG) as export:
            assert export.wait(timeout=60) == -signal.SIGKILL
        assert (repository.folder / "org" / "new").is_dir()
        repository.clean_up()
        assert files_of(repository.folder) == before
        assert workplaces(repository.folder) == []
        publish(repository, "org/new")
        repository.clean_up()
        assert repository.names() == ["a", "org/new"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")], ids=["Ctrl-C", "disk"])
    def test_a_model_moved_aside_by_a_failing_export_comes_back(
        self, error: BaseException, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(repository, "a", weights="old")
        before = files_of(repository.folder)
        rename = Path.rename

        def rename_or_fail(path: Path, target: Path) -> Path:
            if path.name == "model":
                raise error
            return rename(path, target)

        monkeypatch.setattr(repository_module, "swap_folders", lambda *_: False)
        monkeypatch.setattr(Path, "rename", rename_or_fail)
        with pytest.raises((KeyboardInterrupt, RepositoryError)):
            publish(repository, "a", weights="new", overwrite=True)
        assert files_of(repository.folder) == before
