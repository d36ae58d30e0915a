"""tuning.json beside each model: what was found to run it fastest, for each kind of machine that it was tried on."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ovembed.errors import RepositoryError
from ovembed.repository.files import replace_file, writing

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "tuning.json"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Batches at the same time, the cores they share, and padded tokens of a batch."""

    streams: int
    threads: int
    batch_tokens: int


def read(folder: Path, machine: str) -> Tuning | None:
    """None where this kind of machine was not tried. Raises RepositoryError for a file that cannot be read."""
    path = folder / FILE_NAME
    try:
        found = _load(path).get(machine)
        return None if found is None else Tuning(**{name: int(found[name]) for name in Tuning.__slots__})
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}. Mend that, or remove it.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RepositoryError(f"{path} is damaged. Remove it, and tune again: ovembed serve --tune") from error


def check_writable(folder: Path) -> None:
    """Raises RepositoryError where `write` would, before anything is tried for long."""
    with writing(folder), tempfile.TemporaryFile(dir=folder):
        pass


def write(folder: Path, machine: str, tuning: Tuning) -> None:
    """Other machines' findings stay. Raises RepositoryError where the folder cannot be written."""
    path = folder / FILE_NAME
    with writing(folder):
        try:
            known = _load(path)
        except ValueError:
            known = {}
        replace_file(path, json.dumps({**known, machine: asdict(tuning)}, indent=2) + "\n")


def _load(path: Path) -> dict[str, Any]:
    """Raises ValueError for what is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError(path)  # noqa: TRY004  as json does for what it cannot read
    return found
