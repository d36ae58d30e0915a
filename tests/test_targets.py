from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovembed.errors import EndpointRefused, ModelNotFound, RepositoryError
from ovembed.repository import ModelRepository, write_model
from ovembed.targets import find_model, is_url, open_embedder
from tests.fakes import make_entry

if TYPE_CHECKING:
    from pathlib import Path


def repository_of(folder: Path, *names: str) -> Path:
    repository = ModelRepository(folder)
    for name in names:
        with repository.stage() as staged:
            write_model(make_entry(staged.folder, name))
            repository.publish(staged, name, overwrite=False)
    return folder


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("http://host:8000", True),
        ("https://host/v1", True),
        ("models/e5", False),
        ("org/e5", False),
        ("httpd", False),
        ("/http://host", False),
    ],
)
def test_what_is_a_url(target: str, url: bool) -> None:
    assert is_url(target) is url


def test_a_model_by_its_served_name(tmp_path: Path) -> None:
    repository = repository_of(tmp_path / "models", "a", "org/b")
    assert find_model("org/b", repository).folder == repository / "org" / "b"


def test_a_model_by_its_folder_in_no_repository_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    write_model(make_entry(folder, "org/b"))
    for target in (folder, str(folder)):
        found = find_model(target, tmp_path / "models")
        assert (found.folder, found.name) == (folder, "org/b")


def test_a_served_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = repository_of(tmp_path / "models", "a")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("a", repository).folder == repository / "a"


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"holds no exported model"):
        find_model(tmp_path, tmp_path / "models")


def test_an_unknown_name_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"No model 'x' in .*\(it has: a, b\)"):
        find_model("x", repository_of(tmp_path / "models", "a", "b"))


def test_nothing_named_is_the_only_model(tmp_path: Path) -> None:
    assert find_model(None, repository_of(tmp_path / "models", "a")).name == "a"


def test_nothing_named_among_several_lists_them(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds several models: a, b\. Choose one with --model"):
        find_model(None, repository_of(tmp_path / "models", "a", "b"))


def test_nothing_named_and_none_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds no model\. Export one first"):
        find_model(None, tmp_path / "models")


def test_the_repository_is_the_folder_models_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository_of(tmp_path / "models", "a")
    monkeypatch.chdir(tmp_path)
    assert find_model("a").name == find_model(None).name == "a"


def test_a_url_opens_an_endpoint(tmp_path: Path) -> None:
    with pytest.raises(EndpointRefused, match="Nothing answers at http://127"):
        open_embedder("http://127.0.0.1:1")
    with open_embedder("http://127.0.0.1:1/v3", model="m") as embedder, pytest.raises(EndpointRefused):
        embedder.prompt()
