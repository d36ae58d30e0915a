"""A source's tokenizer -> tokenizer.json for us, and an OpenVINO tokenizer for OVMS, that give the same ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovembed.errors import ExportError
from ovembed.export.words import in_one_line

if TYPE_CHECKING:
    from pathlib import Path

_VOCABULARIES = ("vocab.*", "*.model", "*vocab*.json", "tokenizer*.py")


def load_tokenizer(source: Path, *, lowercase: bool, trust_remote_code: bool) -> Any:
    """The fast tokenizer of transformers, as sentence-transformers sets it up, but padding on the right.

    Our graphs and OVMS's pooling expect the padding there; attention masks make it the same. Raises ExportError
    when there is no tokenizer, or only one that is written in Python.
    """
    from transformers import AutoTokenizer

    _check_files(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code, padding_side="right")
    except OSError:
        raise
    except Exception as error:
        if (source / "tokenizer.json").exists():
            raise ExportError(f"The tokenizer of {source} cannot be loaded: {in_one_line(error)}") from error
        raise _no_fast_version(source) from error
    if not tokenizer.is_fast:
        raise _no_fast_version(source)
    if lowercase:
        _put_lowercase_first(tokenizer.backend_tokenizer)
    return tokenizer


def write_tokenizer(tokenizer: Any, target: Path, max_tokens: int) -> None:
    """tokenizer.json and tokenizer_config.json, openvino_tokenizer.xml and .bin; the latter can cut to `max_tokens`."""
    import openvino as ov
    from openvino_tokenizers import convert_tokenizer

    tokenizer.save_pretrained(target)
    try:
        converted = convert_tokenizer(tokenizer, with_detokenizer=False, max_length=max_tokens)
    except Exception as error:
        raise ExportError(
            f"The tokenizer of {tokenizer.name_or_path} cannot be converted: {in_one_line(error)}. "
            "Choose a model with another tokenizer."
        ) from error
    ov.save_model(converted, target / "openvino_tokenizer.xml", compress_to_fp16=False)


def _check_files(source: Path) -> None:
    """Without its files transformers makes up a tokenizer that knows no word, and says nothing."""
    from tokenizers import Tokenizer

    path = source / "tokenizer.json"
    if path.exists():
        try:
            Tokenizer.from_file(str(path))
        except Exception as error:
            raise ExportError(f"{path} is damaged ({in_one_line(error)}). Download the model again.") from error
    elif not any(list(source.glob(pattern)) for pattern in _VOCABULARIES):
        raise ExportError(f"{source} holds no tokenizer: neither tokenizer.json nor a vocabulary.")


def _no_fast_version(source: Path) -> ExportError:
    return ExportError(
        f"{source} gave no tokenizer.json: its tokenizer has no fast version. "
        "Choose a model that comes with a tokenizer.json."
    )


def _put_lowercase_first(tokenizer: Any) -> None:
    """`do_lower_case` of sentence_bert_config.json. The sequence is flat: openvino_tokenizers knows none in another."""
    from tokenizers import normalizers

    own = tokenizer.normalizer
    steps = [] if own is None else list(own) if isinstance(own, normalizers.Sequence) else [own]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
