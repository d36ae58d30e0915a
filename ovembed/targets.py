"""What a user names, a folder, a served name or a URL, as an Embedder. The only place that chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.repository import ModelRepository, is_model, read_model

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.protocols import Embedder
    from ovembed.repository import ModelEntry

DEFAULT_REPOSITORY = "models"


def open_embedder(
    target: str | Path,
    *,
    model: str | None = None,
    api_key: str | None = None,
    repository: str | Path = DEFAULT_REPOSITORY,
    settings: EngineSettings | None = None,
) -> Embedder:
    """An Embedder for `target`; close it, or use it in a `with`.

    An http(s) URL is any OpenAI-compatible endpoint (`model` and `api_key` are for it); everything else is a
    folder made by `export_model`, or the name of a model in `repository`, loaded into this process.

    Raises ModelNotFound, RepositoryError or EngineError for models, EndpointError for endpoints.
    """
    if is_url(target):
        from ovembed.remote import RemoteEmbedder  # noqa: PLC0415  httpx is not needed for local models

        return RemoteEmbedder(str(target), model=model, api_key=api_key)
    return load_embedder(find_model(target, repository), settings)


def is_url(target: str | Path) -> bool:
    return str(target).startswith(("http://", "https://"))


def find_model(target: str | Path | None, repository: str | Path = DEFAULT_REPOSITORY) -> ModelEntry:
    """The model in a folder, else of that name in the repository; None for the repository's only one."""
    models = ModelRepository(repository)
    if target is None:
        return models.only()
    folder = Path(target)
    if is_model(folder) or (folder.is_dir() and str(target) not in models.names()):
        return read_model(folder)
    return models.get(str(target))


def load_embedder(entry: ModelEntry, settings: EngineSettings | None = None) -> Embedder:
    """The model compiled for this process; compiled models are kept for the next time by default."""
    from ovembed import engine, local  # noqa: PLC0415  openvino loads only when a model does

    settings = settings or engine.EngineSettings(cache_dir=engine.default_cache_dir())
    return local.LocalEmbedder(engine.OpenVINOEngine.load(entry, settings), entry.name)
