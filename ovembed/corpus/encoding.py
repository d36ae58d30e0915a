"""Which encoding the bytes of a text file are in: by its byte order mark, as UTF-8, else as it looks."""

from __future__ import annotations

import codecs

# Enough for a guess; files that are UTF-8 so far and not later on have single lines refused.
SAMPLE_BYTES = 64 * 1024

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Where several explain the bytes equally well, the one that most files outside UTF-8 are in.
_USUAL = "cp1252"


def detect(sample: bytes) -> str | None:
    """Python's name of the encoding of a text that begins with `sample`; None for what is no text."""
    for mark, name in _MARKS.items():
        if sample.startswith(mark):
            return name
    if _is_utf8(sample) and not _may_be_utf16(sample):
        return "utf-8"
    return _guess(sample)


def _is_utf8(sample: bytes) -> bool:
    """A character that the sample cuts in two does not count."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _may_be_utf16(sample: bytes) -> bool:
    """A zero is half of a character there, and so is every line end. UTF-8 may hold a stray one."""
    return b"\0" in sample and (b"\n" not in sample or b"\n\0" in sample or b"\0\n" in sample)


def _guess(sample: bytes) -> str | None:
    import charset_normalizer  # noqa: PLC0415  slow to import, and seldom needed

    matches = charset_normalizer.from_bytes(sample)
    best = matches.best()
    if best is None:
        return None
    equals = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    possible = {name for match in equals for name in match.could_be_from_charset}
    return _USUAL if _USUAL in possible else codecs.lookup(best.encoding).name
