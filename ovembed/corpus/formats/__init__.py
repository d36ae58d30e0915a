"""The output files, each with one owner that writes and reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from ovembed.corpus.formats import json, jsonl, npy, npz, parquet, parts, sqlite
from ovembed.corpus.stored import reading
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ovembed.corpus.stored import StoredVectors

Format: TypeAlias = Literal["json", "jsonl", "npy", "npz", "parquet", "sqlite"]
FORMATS: tuple[Format, ...] = get_args(Format)


class FileFormat(Protocol):
    """The owner of a format: one of the modules of this package."""

    def write(self, stored: StoredVectors, path: Path) -> None:
        """Write it all to a new file. Raises OSError as files do."""

    def read(self, path: Path) -> StoredVectors:
        """Raises InputError, naming the file, when it is not of the format."""


OWNERS: Mapping[Format, FileFormat] = {
    "json": json,
    "jsonl": jsonl,
    "npy": npy,
    "npz": npz,
    "parquet": parquet,
    "sqlite": sqlite,
}
_ENDINGS: Mapping[str, Format] = {f".{name}": name for name in FORMATS} | {".db": "sqlite"}
_BEGINNINGS: Mapping[Format, bytes] = {
    "json": b"{",
    "jsonl": b"{",
    "npy": b"\x93NUMPY",
    "npz": b"PK\x03\x04",
    "parquet": b"PAR1",
    "sqlite": b"SQLite format 3\0",
}


def format_of(output: Path | None, chosen: Format | None = None) -> Format:
    """The format asked for, else that of the file's ending, else JSON. Raises InputError for an unknown ending."""
    if chosen is not None:
        return chosen
    if output is None:
        return "json"
    if output.suffix not in _ENDINGS:
        raise InputError(f"{output} has an ending of no known format ({', '.join(FORMATS)}). Choose one with --format.")
    return _ENDINGS[output.suffix]


def open_stored(path: Path, chosen: Format | None = None) -> StoredVectors:
    """An output of embed, for reading: a file, whose ending tells its format, or a folder of parts.

    Close it, or use it in a `with`. Raises InputError, naming the file, when there is none or it is not of the format.
    """
    if not path.exists():
        raise InputError(f"No file {path}. Make it of your texts: ovembed embed FILE -o {path}")
    if path.is_dir():
        return parts.read(path)
    kind = chosen or _ENDINGS.get(path.suffix)
    if kind is None:
        raise InputError(f"{path} is no output of ovembed embed: it ends in none of {', '.join(_ENDINGS)}.")
    with reading(path):
        _check_beginning(path, kind)
    return OWNERS[kind].read(path)


def _check_beginning(path: Path, kind: Format) -> None:
    """Raises InputError when the file is empty, or none of that kind."""
    with path.open("rb") as file:
        found = file.read(max(map(len, _BEGINNINGS.values())))
    if not found:
        raise InputError(f"{path} is empty. Embed the texts again.")
    if not found.lstrip().startswith(_BEGINNINGS[kind]):
        others = [name for name, beginning in _BEGINNINGS.items() if found.startswith(beginning)]
        advice = f"It looks like {' or '.join(others)}: rename it." if others else "Embed the texts again."
        raise InputError(f"{path} is no {kind} file. {advice}")


def files_of(output: Path, kind: Format) -> tuple[Path, ...]:
    """Every file that the format consists of; the one named by the user comes last."""
    return (npy.meta_path(output), output) if kind == "npy" else (output,)
