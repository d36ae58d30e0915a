"""A model's files from the Hub, through its own client: listed, chosen, fetched, and what goes wrong told plainly."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import httpx
from huggingface_hub import HfApi, constants, get_token, hf_hub_download
from huggingface_hub import errors as hub
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.logging import get_verbosity, set_verbosity

from ovembed.errors import ModelNotFound
from ovembed.hub import cache, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path, PurePosixPath
    from typing import Self

# From here on the first answer about a repository may leave some of its files out.
_FULL_LISTING = 1000
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
_SPACE_LEFT_WHEN_FULL = 8 * 1024 * 1024
# hf_xet, which brings the large files, raises RuntimeError for whatever went wrong.
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError)
_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError)


class HubUnreachable(Exception):
    """The Hub said nothing about a repository: `reason` is the fact, `advice` the next step."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one commit, with the size of each file. A renamed one has another `id` than its `source`."""

    source: str
    id: str
    revision: str
    commit: str
    sizes: Mapping[str, int]


def list_repo(source: str, revision: str | None) -> Repo:
    """Raises HubUnreachable, or ModelNotFound where the Hub answers that it will not show this model."""
    try:
        with _client_silenced():
            api = HfApi()
            info = api.model_info(source, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
            if len(sizes) >= _FULL_LISTING:
                tree = api.list_repo_tree(info.id, recursive=True, revision=info.sha)
                sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    except (*_FAILURES, ValueError, KeyError, TypeError) as error:
        raise _unreachable(error) or _refusal(error, source, revision) from error
    return Repo(source, info.id, revision or constants.DEFAULT_REVISION, str(info.sha), sizes)


def fetch(
    repo: Repo, *, allow_pickle: bool, trust_remote_code: bool, on_progress: Callable[[int, int], None] | None
) -> Path:
    """Bring the files that an export needs into the cache, but for those already there; returns their folder.

    A file that was cut off goes on where it ended, in this call or in the next. `on_progress` hears the bytes that
    are here and the bytes in all. Raises ExportError before any weights are fetched when they could run code and
    `allow_pickle` is off, ModelNotFound when the files do not come.
    """
    with _failures_told(repo):
        modules = _fetch_modules(repo)
        if not allow_pickle:
            files.refuse_pickles(repo.source, repo.sizes, modules)
        needed = files.needed_files(repo.sizes, modules, trust_remote_code=trust_remote_code)
        progress = _Progress(sum(repo.sizes[name] for name in needed), on_progress)
        for name in needed:
            _fetch_file(repo, name, progress)
            progress.end_file(repo.sizes[name])
        # Last, so that a branch never leads to half a model.
        cache.name_revision(repo.source, repo.revision, repo.commit)
    return cache.snapshot_folder(repo.source, repo.commit)


def _fetch_modules(repo: Repo) -> Mapping[PurePosixPath, str]:
    """The list of modules comes first, as it names the folders; where there is none, the cache notes that."""
    with contextlib.suppress(hub.RemoteEntryNotFoundError):
        _fetch_file(repo, files.MODULES, _Progress(0, None))
    return files.modules_of(cache.snapshot_folder(repo.source, repo.commit))


def _fetch_file(repo: Repo, name: str, progress: _Progress) -> None:
    """The client goes on by itself after a silence; after a cut we let it, as long as each try brings something."""
    while True:
        received = progress.received
        try:
            hf_hub_download(repo.source, name, revision=repo.commit, tqdm_class=progress.bar())
        except _CUT_OFF:
            if progress.received == received:
                raise
            list_repo(repo.source, repo.revision)  # tells at once if the Hub is gone; the client would try for long
        else:
            return


class _Progress:
    """The bytes of all files as one number, from the bars that the client makes of each file and of each new try."""

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        self.received = 0
        self._ended = 0
        self._total = total
        self._tell = tell or (lambda _done, _total: None)

    def bar(self) -> type:
        """What the client takes for a class of tqdm; its own would draw on the terminal."""

        class Bar(_Bar):
            progress = self

        return Bar

    def show(self, done_of_file: float) -> None:
        self._tell(min(self._ended + int(done_of_file), self._total), self._total)

    def end_file(self, size: int) -> None:
        self._ended += size
        self.show(0)


class _Bar:
    progress: ClassVar[_Progress]

    def __init__(self, *_: object, initial: float = 0, **__: object) -> None:
        self._done = initial
        self.progress.show(self._done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: float | None = 1) -> None:
        self._done += count or 0
        self.progress.received += int(count or 0)
        self.progress.show(self._done)


@contextlib.contextmanager
def _client_silenced() -> Iterator[None]:
    """The client logs and warns on stderr; what a user has to know is in our errors."""
    verbosity = get_verbosity()
    set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        set_verbosity(verbosity)


@contextlib.contextmanager
def _failures_told(repo: Repo) -> Iterator[None]:
    try:
        with _client_silenced():
            yield
    except (*_FAILURES, HubUnreachable) as error:
        wrapped = isinstance(error, hub.LocalEntryNotFoundError) and error.__cause__
        raise _broken_off(wrapped or error, repo) from error


def _broken_off(error: BaseException, repo: Repo) -> ModelNotFound:
    full = _disk_problem(error)
    if full is not None:
        return ModelNotFound(
            f"'{repo.source}' cannot be kept in the Hugging Face cache, {constants.HF_HUB_CACHE}: {full}. "
            "Point HF_HOME to a folder with space that you may write."
        )
    gone = error if isinstance(error, HubUnreachable) else _unreachable(error)
    if gone is None and isinstance(error, hub.HfHubHTTPError):
        return _refusal(error, repo.source, repo.revision)
    reason = gone.reason if gone else next(iter(str(error).splitlines()), type(error).__name__)
    return ModelNotFound(
        f"The download of '{repo.source}' broke off: {reason}. Run the same command again: it resumes."
    )


def _disk_problem(error: BaseException) -> str | None:
    """Only errors about a file name one; hf_xet does not say what went wrong, so the disk is looked at."""
    if isinstance(error, OSError) and (error.errno in _DISK_ERRORS or error.filename is not None):
        return error.strerror
    with contextlib.suppress(OSError):
        if shutil.disk_usage(constants.HF_HUB_CACHE).free < _SPACE_LEFT_WHEN_FULL:
            return os.strerror(errno.ENOSPC)
    return None


def _unreachable(error: BaseException) -> HubUnreachable | None:
    """None where the Hub did answer something about the repository."""
    match error:
        case hub.OfflineModeIsEnabled():
            return HubUnreachable("HF_HUB_OFFLINE is set", "Unset it to ask the Hub, or give a local folder.")
        case hub.HfHubHTTPError():
            if error.response.is_server_error or error.response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                return HubUnreachable(f"the Hub answers {_status(error)}", "Try again later, or give a local folder.")
        case httpx.HTTPError() | httpx.InvalidURL():
            return HubUnreachable(
                "the Hub cannot be reached", "Check the network (HF_ENDPOINT, HTTPS_PROXY), or give a local folder."
            )
        case ValueError() | KeyError() | TypeError():
            return HubUnreachable(
                f"{constants.ENDPOINT} does not answer like a Hub", "Check HF_ENDPOINT, or give a local folder."
            )
    return None


def _refusal(error: BaseException, source: str, revision: str | None) -> ModelNotFound:
    """The Hub says 'no such model' for private ones too, to whom may not read them."""
    page, token = f"{constants.ENDPOINT}/{source}", _token_in_use()
    match error:
        case hub.GatedRepoError() if token:
            text = f"'{source}' is gated, and {token} gives no access yet. Accept its terms at {page} as its owner."
        case hub.GatedRepoError():
            text = f"'{source}' is gated. Accept its terms at {page}, then set HF_TOKEN to a token of yours."
        case hub.RepositoryNotFoundError() if token:
            text = f"The Hub has no model '{source}' that {token} may read. Check the name, and who may read it."
        case hub.RepositoryNotFoundError():
            text = f"The Hub has no model '{source}', or it is private. Check the name; for a private one set HF_TOKEN."
        case hub.RevisionNotFoundError():
            text = f"'{source}' has no revision '{revision}' on the Hub. See its branches and tags at {page}/tree/main."
        case hub.HfHubHTTPError(response=response) if response.status_code == httpx.codes.UNAUTHORIZED and token:
            text = f"The Hub does not accept {token}. Make a new one at {_token_page()}, or go without it."
        case hub.HfHubHTTPError(response=response) if response.status_code == httpx.codes.FORBIDDEN and token:
            text = f"The Hub does not let {token} read '{source}'. Give it that right at {_token_page()}."
        case hub.HfHubHTTPError():
            text = f"The Hub answers {_status(error)} for '{source}'. Set HF_TOKEN if it takes a token, or see {page}."
        case _:
            text = f"'{source}' cannot be looked up on the Hub: {error}. Check HF_HOME and HF_TOKEN."
    return ModelNotFound(text)


def _status(error: hub.HfHubHTTPError) -> str:
    return f"{error.response.status_code} {error.response.reason_phrase}".rstrip()


def _token_page() -> str:
    return f"{constants.ENDPOINT}/settings/tokens"


def _token_in_use() -> str | None:
    """What to call the token that the client sends; None where it sends none."""
    if get_token() is None:
        return None
    return "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token of 'hf auth login'"
