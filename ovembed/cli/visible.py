"""Texts, names and ids from elsewhere, for a terminal: shown, and never obeyed."""

from __future__ import annotations

_C0, _DELETE = range(0x20), 0x7F
_PICTURES = 0x2400  # of the control characters, in their order
_DELETE_PICTURE = 0x2421
_C1 = range(0x80, 0xA0)  # 0x9b alone begins what ESC [ does
_LINE_ENDS = (0x2028, 0x2029)
# Unicode's Bidi_Control: they show what follows in another order. Joiners, which scripts and emoji need, are left.
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))

_SIGNS = (
    {code: chr(_PICTURES + code) for code in _C0}
    | {_DELETE: chr(_DELETE_PICTURE)}
    | {code: f"\\x{code:02x}" for code in _C1}
    | {code: f"\\u{code:04x}" for code in (*_LINE_ENDS, *_DIRECTIONS)}
)


def visible(text: str) -> str:
    """In one line, with a sign for every character that would move the cursor, change colours or turn the order round.

    ESC becomes ␛, a right-to-left override \\u202e.
    """
    return text.translate(_SIGNS)
