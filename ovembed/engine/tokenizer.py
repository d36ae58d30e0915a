"""The tokenizer beside a model, through the `tokenizers` library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that neither cuts nor pads: both are decided by the caller."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def closing_tokens(tokenizer: Tokenizer) -> int:
    special = tokenizer.encode("a").special_tokens_mask
    return special[::-1].index(0) if 0 in special else 0
