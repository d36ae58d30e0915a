"""Models from a Hub on this machine, through the real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovembed.errors import ExportError, OvembedError
from ovembed.hub import find_source
from tests import models
from tests.hub_server import OTHER_TOKEN, TOKEN, LocalHub, local_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = {
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}
DECOYS = [
    "README.md",
    "consolidated.safetensors",
    "coreml/model.mlpackage",
    "flax_model.msgpack",
    "model.fp16.safetensors",
    "model.gguf",
    "onnx/config.json",
    "onnx/model.onnx",
    "openvino/openvino_model.bin",
    "openvino_config.json",
    "checkpoint-500/model.safetensors",
    "checkpoint-500/config.json",
    "optimizer.pt",
    "picture.png",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "tf_model.h5.index.json",
    "trainer_state.json",
    "training_args.bin",
    "modeling_own.py",
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache, empty; chunks so small that little files have several."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The client asks this Hub; HF_ENDPOINT would say so to a process of its own."""
    import huggingface_hub
    from huggingface_hub import constants

    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """All that belongs to a model of sentence-transformers; only its weights are none."""
    folder = models.bare_model(tmp_path / "model")
    models.save_sentence_transformers_files(folder, pooling="cls", normalize=True, max_seq_length=32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        models.write_json(folder / name, {"name": name})
    (folder / "vocab.txt").write_text("the\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(bytes(range(250)) * 40)
    return folder


def add_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f'{{"content": "{name}"}}', encoding="utf-8")


def failure(source: str, **options: object) -> str:
    """The words for one mistake: a single line without a token in it."""
    with pytest.raises(OvembedError) as caught:
        find_source(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "hf_" not in message
    return message


class TestChoice:
    def test_only_the_needed_files_are_fetched(self, hub: LocalHub, model: Path) -> None:
        add_files(model, *DECOYS)
        commit = hub.add("a/b", model)
        found = find_source("a/b")
        assert (found.name, found.revision, found.origin) == ("a/b", commit, "Hugging Face Hub")
        assert set(hub.fetched()) == TEXTS | {"model.safetensors"}
        assert len(hub.fetched()) == len(TEXTS) + 1
        assert hub.fetched()[0] == "modules.json"
        assert hub.fetched()[-1] == "model.safetensors"
        here = {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()}
        assert here == set(hub.fetched())

    def test_python_files_only_when_they_are_trusted(self, hub: LocalHub, model: Path) -> None:
        add_files(model, "modeling_own.py", "checkpoint-500/modeling_own.py")
        commit = hub.add("a/b", model)
        find_source("a/b", revision=commit)
        assert "modeling_own.py" not in hub.fetched()
        find_source("a/b", revision=commit, trust_remote_code=True)
        assert hub.fetched()[-1] == "modeling_own.py"
        assert hub.fetched().count("config.json") == 1

    def test_shards_come_with_their_index(self, hub: LocalHub, model: Path) -> None:
        shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        (model / "model.safetensors").unlink()
        add_files(model, *shards, "pytorch_model.bin", "pytorch_model.bin.index.json", "model.fp16.safetensors")
        models.write_json(model / "model.safetensors.index.json", {"weight_map": dict(zip("ab", shards, strict=True))})
        hub.add("a/b", model)
        find_source("a/b")
        assert hub.fetched()[-3:] == ["model.safetensors.index.json", *shards]
        assert set(hub.fetched()) == TEXTS | {"model.safetensors.index.json", *shards}

    def test_modules_bring_their_own_weights(self, hub: LocalHub, model: Path) -> None:
        add_module(model, "2_Dense", "Dense")
        add_files(model, "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin")
        hub.add("a/b", model)
        find_source("a/b")
        assert {file for file in hub.fetched() if file.startswith("2_Dense")} == {
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
        }

    def test_an_encoder_in_a_folder_of_its_own(self, hub: LocalHub, model: Path) -> None:
        models.write_json(model / "modules.json", [{"path": "0_Transformer", "type": "x.Transformer"}])
        add_files(model, "0_Transformer/config.json", "0_Transformer/model.safetensors")
        hub.add("a/b", model)
        find_source("a/b")
        assert "0_Transformer/model.safetensors" in hub.fetched()
        assert "model.safetensors" not in hub.fetched()

    def test_a_model_without_modules(self, hub: LocalHub, tmp_path: Path) -> None:
        folder = models.bare_model(tmp_path / "plain")
        add_files(folder, "model.safetensors", "1_Pooling/config.json")
        hub.add("a/b", folder)
        find_source("a/b")
        assert hub.fetched() == ["config.json", "model.safetensors"]

    def test_a_listing_that_was_cut_short_is_not_believed(
        self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ovembed.hub import download

        hub.listing_limit = 3
        monkeypatch.setattr(download, "_FULL_LISTING", 3)
        hub.add("a/b", model)
        find_source("a/b")
        assert set(hub.fetched()) == TEXTS | {"model.safetensors"}


def add_module(model: Path, path: str, kind: str) -> None:
    modules = json.loads((model / "modules.json").read_text(encoding="utf-8"))
    models.write_json(
        model / "modules.json", [*modules, {"path": path, "type": f"sentence_transformers.models.{kind}"}]
    )


class TestPickles:
    @pytest.fixture
    def pickled(self, model: Path) -> Path:
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
        return model

    def test_they_are_refused_before_they_are_fetched(self, hub: LocalHub, pickled: Path) -> None:
        hub.add("a/b", pickled)
        with pytest.raises(ExportError, match=r"^pytorch_model\.bin of 'a/b' can run code.*--allow-pickle"):
            find_source("a/b")
        assert hub.fetched() == ["modules.json"]

    def test_they_are_fetched_when_allowed(self, hub: LocalHub, pickled: Path) -> None:
        hub.add("a/b", pickled)
        found = find_source("a/b", allow_pickle=True)
        assert set(hub.fetched()) == TEXTS | {"pytorch_model.bin"}
        with pytest.raises(ExportError, match="--allow-pickle"):
            find_source("a/b", revision=found.revision)

    def test_those_of_a_module_count(self, hub: LocalHub, model: Path) -> None:
        add_module(model, "2_Dense", "Dense")
        add_files(model, "2_Dense/config.json", "2_Dense/pytorch_model.bin")
        hub.add("a/b", model)
        with pytest.raises(ExportError, match=r"^2_Dense/pytorch_model\.bin of 'a/b'"):
            find_source("a/b")

    def test_a_folder_is_held_to_the_same_rule(self, pickled: Path) -> None:
        with pytest.raises(ExportError, match=r"^pytorch_model\.bin of '.*/model' can run code"):
            find_source(str(pickled))
        assert find_source(str(pickled), allow_pickle=True).folder == pickled
        (pickled / "model.safetensors").touch()
        assert find_source(str(pickled)).folder == pickled


class TestRevisions:
    @pytest.fixture
    def commits(self, hub: LocalHub, model: Path, tmp_path: Path) -> dict[str, str]:
        old = models.bare_model(tmp_path / "old")
        return {name: hub.add("a/b", folder, name) for name, folder in [("v1", old), ("pr/1", old), ("main", model)]}

    @pytest.mark.parametrize("revision", ["v1", "pr/1", "main"])
    def test_a_branch_or_tag_is_taken_at_its_commit(self, revision: str, commits: dict[str, str]) -> None:
        found = find_source("a/b", revision=revision)
        assert (found.revision, found.folder.name) == (commits[revision], commits[revision])

    def test_a_commit_is_asked_for_once(self, hub: LocalHub, commits: dict[str, str]) -> None:
        assert find_source("a/b", revision=commits["v1"]).origin == "Hugging Face Hub"
        hub.requests.clear()
        found = find_source("a/b", revision=commits["v1"])
        assert (found.revision, found.origin) == (commits["v1"], "Hugging Face cache")
        assert hub.requests == []

    def test_a_branch_that_moved_is_followed(self, hub: LocalHub, model: Path, commits: dict[str, str]) -> None:
        assert find_source("a/b", revision="v1").revision == commits["v1"]
        moved = hub.add("a/b", model, "v1")
        assert find_source("a/b", revision="v1").revision == moved

    def test_a_cache_that_cannot_note_the_branch_serves_as_well(
        self, cache: Path, hub: LocalHub, commits: dict[str, str]
    ) -> None:
        (cache / "models--a--b").mkdir(parents=True)
        (cache / "models--a--b" / "refs").touch()
        assert find_source("a/b").revision == commits["main"]

    def test_an_unknown_one_is_told(self, hub: LocalHub, commits: dict[str, str]) -> None:
        assert failure("a/b", revision="v9").startswith("'a/b' has no revision 'v9' on the Hub.")


class TestAccess:
    def test_a_missing_model(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        assert failure("a/b").startswith("The Hub has no model 'a/b', or it is private. Check the name; ")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert failure("a/b").startswith("The Hub has no model 'a/b' that HF_TOKEN may read.")

    def test_a_private_model(self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.add("a/b", model, private=True)
        assert failure("a/b").endswith("for a private one set HF_TOKEN.")
        monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
        assert "no model 'a/b' that HF_TOKEN may read" in failure("a/b")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        find_source("a/b")
        assert "model.safetensors" in hub.fetched()

    def test_a_gated_model(self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.add("a/b", model, gated=True)
        assert failure("a/b") == (
            f"'a/b' is gated. Accept its terms at {hub.url}/a/b, then set HF_TOKEN to a token of yours."
        )
        monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
        assert failure("a/b").startswith("'a/b' is gated, and HF_TOKEN gives no access yet.")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert find_source("a/b").origin == "Hugging Face Hub"

    def test_a_token_that_is_not_accepted(
        self, hub: LocalHub, model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("a/b", model)
        (cache.parent / "token").write_text("hf_expired", encoding="utf-8")
        assert failure("a/b").startswith("The Hub does not accept the token of 'hf auth login'.")
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        assert failure("a/b").startswith("The Hub does not accept HF_TOKEN.")

    def test_a_token_that_may_not_read(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.fault = (403, "")
        assert failure("a/b").startswith("The Hub answers 403 Forbidden for 'a/b'.")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert failure("a/b").startswith("The Hub does not let HF_TOKEN read 'a/b'.")

    def test_the_token_goes_to_the_hub_alone(self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.add("a/b", model, private=True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        find_source("a/b")
        tokens = {request.token for request in hub.requests if not request.path.startswith("/blobs/")}
        assert tokens == {TOKEN}
        assert {request.token for request in hub.requests if request.path.startswith("/blobs/")} == {None}

    def test_a_renamed_model_keeps_the_name_it_was_called_by(self, hub: LocalHub, model: Path) -> None:
        commit = hub.add("a/b", model)
        hub.rename("a/b", "c/d")
        found = find_source("a/b")
        assert (found.name, found.revision) == ("a/b", commit)
        assert found.origin == "Hugging Face Hub (renamed to c/d)"
        hub.stop()
        assert find_source("a/b").folder == found.folder


class TestWithoutTheHub:
    def test_the_whole_model_in_the_cache_is_taken(
        self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("a/b", model)
        hub.add("a/b", model, "feature/x")
        found = find_source("a/b", revision="feature/x")
        hub.fault = (503, "")
        assert find_source("a/b", revision="feature/x").origin == (
            "Hugging Face cache (the Hub answers 503 Service Unavailable)"
        )
        hub.stop()
        again = find_source("a/b", revision="feature/x")
        assert (again.folder, again.revision) == (found.folder, found.revision)
        assert again.origin == "Hugging Face cache (the Hub cannot be reached)"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert find_source("a/b", revision="feature/x").origin == "Hugging Face cache (HF_HUB_OFFLINE is set)"
        assert failure("a/b").startswith("'a/b' is no folder here, not in the Hugging Face cache, and HF_HUB_OFFLINE")

    def test_a_model_known_to_have_no_modules_is_whole(self, hub: LocalHub, tmp_path: Path) -> None:
        hub.add("a/b", models.bare_model(tmp_path / "plain"))
        find_source("a/b")
        hub.stop()
        assert find_source("a/b").origin == "Hugging Face cache (the Hub cannot be reached)"

    def test_files_that_another_program_fetched_are_no_model(self, hub: LocalHub, model: Path) -> None:
        """transformers needs no modules.json, and without it the model would be pooled otherwise."""
        from huggingface_hub import hf_hub_download

        hub.add("a/b", model)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            hf_hub_download("a/b", name)
        hub.stop()
        assert failure("a/b").startswith("The download of 'a/b' is incomplete, and the Hub cannot be reached.")

    @pytest.mark.parametrize(
        "name", ["1_Pooling/config.json", "config.json", "model.safetensors", "model-00002-of-00002.safetensors"]
    )
    def test_half_a_model_is_not_taken(self, name: str, hub: LocalHub, model: Path) -> None:
        if "-of-" in name:
            (model / "model.safetensors").unlink()
            add_files(model, "model-00001-of-00002.safetensors", name)
            shards = {"a": "model-00001-of-00002.safetensors", "b": name}
            models.write_json(model / "model.safetensors.index.json", {"weight_map": shards})
        commit = hub.add("a/b", model)
        (find_source("a/b").folder / name).unlink()
        hub.stop()
        message = failure("a/b", revision=commit)
        assert message.startswith("The download of 'a/b' is incomplete, and the Hub cannot be reached.")
        assert "the same command goes on where it ended" in message

    @pytest.mark.parametrize("fault", [(500, ""), (502, ""), (429, "")])
    def test_a_hub_in_trouble_is_told(self, fault: tuple[int, str], hub: LocalHub) -> None:
        hub.fault = fault
        assert f"and the Hub answers {fault[0]} " in failure("a/b")

    def test_a_hub_that_is_none(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.fault = (200, "")
        assert f"and {hub.url} does not answer like a Hub. Check HF_ENDPOINT" in failure("a/b")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "hub.example")
        assert "and the Hub cannot be reached. Check the network (HF_ENDPOINT" in failure("a/b")


class TestResume:
    def test_a_cut_in_the_middle_is_mended_at_once(self, hub: LocalHub, model: Path) -> None:
        hub.add("a/b", model)
        hub.cut("model.safetensors", 2500, 6000)
        found = find_source("a/b")
        assert (found.folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
        ranges = [request.range for request in hub.requests if request.file == "model.safetensors"]
        assert ranges == [None, "bytes=2000-", "bytes=6000-"]

    def test_a_connection_that_brings_nothing_is_given_up(self, hub: LocalHub, model: Path) -> None:
        hub.add("a/b", model)
        hub.cut("model.safetensors", 0, 0)
        message = failure("a/b")
        assert message.startswith("The download of 'a/b' broke off: ")
        assert message.endswith("Run the same command again: it resumes.")

    def test_a_hub_that_dies_is_told_at_once(self, hub: LocalHub, model: Path) -> None:
        hub.add("a/b", model)
        hub.cut("model.safetensors", 7000, die=True)
        assert failure("a/b") == (
            "The download of 'a/b' broke off: the Hub cannot be reached. Run the same command again: it resumes."
        )
        assert failure("a/b").startswith("The download of 'a/b' is incomplete, and the Hub cannot be reached.")

    def test_progress_counts_all_files_and_what_was_here(self, hub: LocalHub, model: Path) -> None:
        hub.add("a/b", model)
        total = sum((model / name).stat().st_size for name in (*TEXTS, "model.safetensors"))
        seen: list[tuple[int, int]] = []
        hub.cut("model.safetensors", 4000, 4000)
        failure("a/b", on_progress=lambda *counts: seen.append(counts))
        assert seen[-1] == (total - 6000, total)
        first, seen = seen, []
        find_source("a/b", on_progress=lambda *counts: seen.append(counts))
        assert seen[-1] == (total, total)
        assert (total - 6000, total) in seen
        for counts in (first, seen):
            assert [done for done, _ in counts] == sorted(done for done, _ in counts)
            assert {in_all for _, in_all in counts} == {total}
        assert hub.sent("model.safetensors") == 10_000

    def test_nothing_is_drawn_or_logged(self, hub: LocalHub, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
        hub.add("a/b", model)
        hub.cut("model.safetensors", 4000)
        find_source("a/b")
        assert capfd.readouterr() == ("", "")


class TestLargeFiles:
    """hf_xet, which brings them from the real Hub, has one error for everything."""

    @pytest.fixture(autouse=True)
    def _failing(self, hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> str:
            raise RuntimeError("Data processing error: reqwest\nsource: hyper")

        hub.add("a/b", model)
        monkeypatch.setattr("ovembed.hub.download.hf_hub_download", fail)

    def test_what_it_says_first_is_told(self) -> None:
        assert failure("a/b").startswith(
            "The download of 'a/b' broke off: Data processing error: reqwest. Run the same"
        )

    def test_a_full_disk_is_seen(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import shutil

        full = shutil.disk_usage(cache.parent)._replace(free=4096)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
        assert failure("a/b").startswith(f"'a/b' cannot be kept in the Hugging Face cache, {cache}: No space left")


class TestDisk:
    def test_a_full_one_is_told(self, hub: LocalHub, model: Path, tmp_path: Path) -> None:
        disk = tmp_path / "cache"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting a small disk takes more rights")
        try:
            (model / "model.safetensors").write_bytes(bytes(100_000))
            hub.add("a/b", model)
            message = failure("a/b")
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        assert message == (
            f"'a/b' cannot be kept in the Hugging Face cache, {disk}: No space left on device. "
            "Point HF_HOME to a folder with space that you may write."
        )

    def test_a_cache_that_is_no_folder(self, hub: LocalHub, model: Path, cache: Path) -> None:
        cache.touch()
        hub.add("a/b", model)
        assert failure("a/b").startswith(f"'a/b' cannot be kept in the Hugging Face cache, {cache}: ")


class TestExport:
    """The program as a user runs it: a process of its own that finds the Hub by HF_ENDPOINT."""

    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[LocalHub]:
        from safetensors.torch import load_file, save_file

        folder = models.save_tiny_bert(tmp_path / "tiny")
        add_files(folder, *DECOYS)
        # The client writes in pieces of ten megabytes: the weights get a remark of some more.
        path = folder / "model.safetensors"
        save_file(load_file(path), path, metadata={"format": "pt", "remark": "x" * 12_000_000})
        with local_hub() as hub:
            hub.add("tiny/bert", folder)
            yield hub

    def export(self, hub: LocalHub, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1,localhost"}
        command = [sys.executable, "-m", "ovembed", "export", "tiny/bert", "-r", str(tmp_path / "models"), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def test_exactly_the_needed_files_are_fetched(self, served: LocalHub, tmp_path: Path) -> None:
        done = self.export(served, tmp_path, "--weight-format", "fp32", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["spec"]["revision"] == served.models["tiny/bert"].refs["main"]
        assert set(served.fetched()) == TEXTS - {"vocab.txt"} | {"model.safetensors"}
        assert len(served.fetched()) == len(TEXTS)
        agents = {request.user_agent for request in served.requests}
        assert not any("torch" in agent or "agent/" in agent for agent in agents)

    def test_a_hub_that_dies_is_told_and_the_next_export_resumes(self, served: LocalHub, tmp_path: Path) -> None:
        served.cut("model.safetensors", 11_000_000, die=True)
        broken = self.export(served, tmp_path)
        assert broken.returncode == 1
        assert broken.stderr.splitlines()[-1] == (
            "ovembed: The download of 'tiny/bert' broke off: the Hub cannot be reached. "
            "Run the same command again: it resumes."
        )
        with local_hub() as revived:
            revived.models = served.models
            done = self.export(revived, tmp_path, "--weight-format", "fp32")
            assert done.returncode == 0, done.stderr
            assert revived.fetched() == ["model.safetensors"]
            begin = 10 * 1024 * 1024
            size = next(iter(served.models["tiny/bert"].commits.values())).joinpath("model.safetensors").stat().st_size
            assert revived.sent("model.safetensors") == size - begin
