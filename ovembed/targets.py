"""What a user names, a folder, a served name or a URL, as an Embedder. The only place that chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.repository import ModelRepository, is_model, read_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ovembed.engine import EngineSettings
    from ovembed.protocols import Embedder
    from ovembed.remote import RemoteSettings
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
        return open_endpoints([str(target)], model=model, api_key=api_key)
    return load_embedder(find_model(target, repository), settings)


def open_endpoints(
    urls: Sequence[str],
    *,
    model: str | None = None,
    api_key: str | None = None,
    settings: RemoteSettings | None = None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> Embedder:
    """An Embedder that shares its work out among the endpoints at these URLs; see `RemoteEmbedder`.

    Raises InputError for what is no URL, EndpointError and ModelNotFound when no endpoint can be used.
    """
    from ovembed.remote import RemoteEmbedder  # noqa: PLC0415  httpx is not needed for local models

    for url in urls:
        if not is_url(url):
            raise InputError(f"'{url}' is no http:// or https:// URL. For a local model use --model.")
    return RemoteEmbedder(*urls, model=model, api_key=api_key, settings=settings, on_trouble=on_trouble)


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


def find_maker(fingerprint: str, repository: str | Path = DEFAULT_REPOSITORY) -> ModelEntry | None:
    """The model in the repository that makes vectors of that fingerprint; None where it has none."""
    return next(
        (model for model in ModelRepository(repository).models() if model.spec.fingerprint == fingerprint), None
    )


def load_embedder(entry: ModelEntry, settings: EngineSettings | None = None, *, for_many: bool = True) -> Embedder:
    """The model compiled for this process; compiled models are kept for the next time by default.

    for_many: texts share the rows of batches, where the model is known for it. It is faster and takes longer to load.
    """
    from ovembed import engine, local, packed  # noqa: PLC0415  openvino loads only when a model does

    settings = settings or engine.EngineSettings(cache_dir=engine.default_cache_dir())
    load = packed.load_engine if for_many else engine.OpenVINOEngine.load
    return local.LocalEmbedder(load(entry, settings), entry.name)
