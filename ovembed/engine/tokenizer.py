"""Texts to token ids: by tokenizer.json, or where there is none by the OpenVINO tokenizer that OVMS uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tokenizers import Tokenizer as HuggingFaceTokenizer

from ovembed.errors import InputError, MissingExtra
from ovembed.protocols import TokenSpans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.protocols import Tokens


_LIMIT = 3  # the input of a Truncate operation that holds the most tokens, after begins, ends and data


class Tokenizer(Protocol):
    """Neither cuts nor pads: both are decided by the caller."""

    @property
    def vocabulary_size(self) -> int | None:
        """Ids are below it; None where the tokenizer does not tell."""

    @property
    def closing_tokens(self) -> int:
        """How many special tokens end every text."""

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of each text with special tokens, in the order of the texts."""

    def spans(self, text: str) -> TokenSpans:
        """Where each token stands. Raises InputError when the tokenizer does not tell."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Of tokenizer.json, or of an OpenVINO tokenizer's .xml."""
    return OpenVINOTokenizer(path) if path.suffix == ".xml" else FastTokenizer(path)


class FastTokenizer:
    """tokenizer.json, through the `tokenizers` library."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = HuggingFaceTokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.vocabulary_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        special = self._tokenizer.encode("a").special_tokens_mask
        self.closing_tokens = special[::-1].index(0) if 0 in special else 0

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def spans(self, text: str) -> TokenSpans:
        """Where the tokenizer takes spaces for part of a word, words begin after them all the same."""
        encoding = self._tokenizer.encode(text)
        spans: list[tuple[int, int]] = []
        words: list[int] = []
        before, ended = None, 0
        for span, word, special in zip(encoding.offsets, encoding.word_ids, encoding.special_tokens_mask, strict=True):
            start, stop = span
            if special or start == stop:
                continue
            # Tokens may share a character, of which each is some bytes: they share the word then.
            begins = start >= ended and (word != before or text[start].isspace() or text[start - 1].isspace())
            words.append(words[-1] + begins if words else 0)
            spans.append(span)
            before, ended = word, stop
        return TokenSpans(spans, words, len(encoding.ids))


class OpenVINOTokenizer:
    """A model of openvino_tokenizers: strings in, padded ids and their mask out."""

    vocabulary_size = None

    def __init__(self, path: Path) -> None:
        try:
            import openvino_tokenizers  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(f"A model without tokenizer.json ({path.parent})", "export") from error
        from ovembed.engine.runtime import core, extend  # noqa: PLC0415  beside the package that it needs

        extend(str(openvino_tokenizers._ext_path))
        model = core().read_model(path)
        _lift_limit(model)
        self._model = core().compile_model(model, "CPU")
        self.closing_tokens = self._common_end("a", "b")

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        outputs = {port.any_name: value for port, value in self._model([np.array(texts)]).items()}
        lengths = outputs["attention_mask"].sum(axis=1)
        return [row[:length].tolist() for row, length in zip(outputs["input_ids"], lengths, strict=True)]

    def spans(self, text: str) -> TokenSpans:  # noqa: ARG002
        raise InputError("A model without tokenizer.json does not tell where its tokens are in a text.")

    def _common_end(self, one: str, other: str) -> int:
        left, right = self.encode([one, other])
        ends = zip(reversed(left), reversed(right), strict=False)
        return next((count for count, (a, b) in enumerate(ends) if a != b), 0)


def _lift_limit(model: Any) -> None:
    """Some are made to cut texts to the model's length: hand the tokens past the operation that does.

    Others cut only when a variable of theirs says so, which nobody sets here.
    """
    for node in model.get_ops():
        if node.get_type_name() == "Truncate" and node.input_value(_LIMIT).get_node().get_type_name() == "Constant":
            for old, new in zip(node.outputs(), node.input_values(), strict=False):
                for target in old.get_target_inputs():
                    target.replace_source_output(new)
