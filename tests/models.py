"""Tiny random source models, made from transformers configs, with the files sentence-transformers writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.repository import ModelEntry

WORDS = (
    "the a of to and in is on for with this that it as are was at by from or be an not have has but they you we "
    "cat dog house river bridge train library book city market weather music child water stone green red old new"
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_tiny_bert(folder: Path, *, pooling: str = "mean", normalize: bool = True, max_seq_length: int = 32) -> Path:
    """A BERT of two layers and 32 dimensions with weights that do not depend on when it is made."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    folder.mkdir(parents=True)
    vocabulary = _save_wordpiece_tokenizer(folder)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    save_sentence_transformers_files(folder, pooling=pooling, normalize=normalize, max_seq_length=max_seq_length)
    return folder


def save_sentence_transformers_files(
    folder: Path, *, pooling: str, normalize: bool, max_seq_length: int | None, dimensions: int = 32
) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    flags = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "last": "pooling_mode_lasttoken",
    }
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": dimensions} | {flag: mode == pooling for mode, flag in flags.items()},
    )
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None},
    )


def bare_model(folder: Path, **config: Any) -> Path:
    """A transformers model without the files of sentence-transformers; its weights are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 64}
    write_json(folder / "config.json", settings | config)
    (folder / "model.safetensors").touch()
    return folder


def with_spec(entry: ModelEntry, **changes: Any) -> ModelEntry:
    """The same files, said to be used otherwise."""
    return replace(entry, spec=replace(entry.spec, **changes))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _save_wordpiece_tokenizer(folder: Path) -> int:
    """Whole words, and every ASCII character as a beginning and a continuation; returns the vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    entries = [*SPECIAL, *WORDS, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    wrapped.save_pretrained(folder)
    return len(vocabulary)
