"""NPZ: both files of NPY in one, `vectors.npy` and `meta.jsonl`, not compressed, so that they can be mapped.

Format: https://numpy.org/doc/stable/reference/generated/numpy.savez.html; the layout of the archive is that of
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3.7.
"""

from __future__ import annotations

import struct
import zipfile
from typing import IO, TYPE_CHECKING

from ovembed.corpus.formats import npy
from ovembed.corpus.lines import Lines
from ovembed.corpus.stored import StoredVectors, reading

if TYPE_CHECKING:
    from pathlib import Path

_VECTORS, _META = "vectors.npy", "meta.jsonl"
_LOCAL_HEADER_BYTES = 30
_LENGTHS = struct.Struct("<HH")  # of the name and of the extra field, at the end of the local header


def write(stored: StoredVectors, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(_VECTORS, "w", force_zip64=True) as vectors:
            npy.write_header(vectors, stored.space, len(stored))
            for codes in stored.code_blocks():
                vectors.write(codes.tobytes())
        with archive.open(_META, "w", force_zip64=True) as meta:
            meta.write(npy.meta_head(stored.space))
            start = 0
            for rows in stored.row_blocks():
                meta.writelines(npy.meta_lines(rows, start))
                start += len(rows)


def read(path: Path) -> StoredVectors:
    """The vectors are a memory map of the file."""
    with reading(path), path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise ValueError("its end is missing") from error
        begin, end = _extent(archive, file, _VECTORS)
        file.seek(begin)
        codes = npy.mapped(path, file, end)
        return npy.with_meta(codes, Lines(path, *_extent(archive, file, _META)))


def _extent(archive: zipfile.ZipFile, file: IO[bytes], name: str) -> tuple[int, int]:
    """Where the bytes of a member begin and end."""
    if name not in archive.namelist():
        raise ValueError(f"there is no {name} in it")
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} in it is compressed")
    file.seek(member.header_offset + _LOCAL_HEADER_BYTES - _LENGTHS.size)
    lengths = file.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        raise ValueError(f"{name} is said to be behind its end")
    begin = member.header_offset + _LOCAL_HEADER_BYTES + sum(_LENGTHS.unpack(lengths))
    return begin, begin + member.file_size
