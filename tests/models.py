"""Tiny random source models, made from transformers configs, with the files sentence-transformers writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.repository import ModelEntry

WORDS = (
    "the a of to and in is on for with this that it as are was at by from or be an not have has but they you we "
    "cat dog house river bridge train library book city market weather music child water stone green red old new"
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


# What each tiny architecture is made of: its tokenizer, and how transformers names its sizes. Windows are shorter
# than the longest texts, so that both kinds of layers count.
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
}
_DECODER_SIZES = _SIZES | {"num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 8}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", _SIZES),
    "distilbert": (
        "bert",
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 64,
            "initializer_range": 0.5,
        },
    ),
    "roberta": ("roberta", _SIZES | {"max_position_embeddings": 514, "type_vocab_size": 1}),
    "xlm-roberta": ("xlm-roberta", _SIZES | {"max_position_embeddings": 66, "type_vocab_size": 1}),
    "mpnet": ("bert", _SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "qwen3": ("qwen", _DECODER_SIZES | {"max_position_embeddings": 32768}),
    "modernbert": (
        "roberta",
        _SIZES | {"num_hidden_layers": 4, "local_attention": 8, "global_attn_every_n_layers": 3},
    ),
    "nomic_bert": ("bert", _SIZES),
    "gemma3_text": (
        "gemma",
        _DECODER_SIZES
        | {
            "num_key_value_heads": 1,
            "query_pre_attn_scalar": 8,
            "use_bidirectional_attention": True,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A Dense module to be written: `activation` is the name of a class in torch.nn."""

    in_features: int
    out_features: int
    activation: str = "Tanh"
    bias: bool = True


def save_tiny_bert(folder: Path, *, pooling: str = "mean", normalize: bool = True, max_seq_length: int = 32) -> Path:
    """A BERT of two layers and 32 dimensions with weights that do not depend on when it is made."""
    return save_tiny(folder, "bert", pooling=pooling, normalize=normalize, max_seq_length=max_seq_length)


def save_tiny(
    folder: Path,
    architecture: str,
    *,
    pooling: str = "mean",
    normalize: bool = True,
    max_seq_length: int | None = 32,
    dense: Sequence[Dense] = (),
    lowercase: bool = False,
    padding_side: str = "right",
) -> Path:
    """A random model of 32 dimensions with weights that do not depend on when it is made."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    torch.manual_seed(7)
    folder.mkdir(parents=True)
    tokenizer_kind, sizes = ARCHITECTURES[architecture]
    tokenizer = _save_tokenizer(folder, tokenizer_kind, cased=lowercase, padding_side=padding_side)
    special = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": None}
    config = CONFIG_MAPPING[architecture](**(special | {"vocab_size": len(tokenizer)} | sizes))
    AutoModel.from_config(config).save_pretrained(folder)
    save_sentence_transformers_files(
        folder,
        pooling=pooling,
        normalize=normalize,
        max_seq_length=max_seq_length,
        dense=dense,
        lowercase=lowercase,
    )
    return folder


def save_sentence_transformers_files(
    folder: Path,
    *,
    pooling: str,
    normalize: bool,
    max_seq_length: int | None,
    dimensions: int = 32,
    dense: Sequence[Dense] = (),
    lowercase: bool = False,
) -> None:
    kinds = ["Transformer", "Pooling", *("Dense" for _ in dense), *(["Normalize"] if normalize else [])]
    save_modules(folder, kinds)
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
    for index, layer in enumerate(dense, start=2):
        save_dense(folder / f"{index}_Dense", layer)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": lowercase})
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None},
    )


def save_modules(folder: Path, kinds: Sequence[str]) -> None:
    """modules.json alone: the first lies in the model's own folder, the others in `<index>_<kind>`."""
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)


def save_dense(folder: Path, layer: Dense) -> None:
    """The files of a Dense module, with random weights."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    home = "linear" if layer.activation == "Identity" else "activation"
    config = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "bias": layer.bias,
        "activation_function": f"torch.nn.modules.{home}.{layer.activation}",
    }
    write_json(folder / "config.json", config)
    weights = {"linear.weight": torch.randn(layer.out_features, layer.in_features)}
    if layer.bias:
        weights["linear.bias"] = torch.randn(layer.out_features)
    save_file(weights, folder / "model.safetensors")


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


def _save_tokenizer(folder: Path, kind: str, *, cased: bool, padding_side: str) -> Any:
    """The tokenizer's files in the folder, of the class that real models name; returns transformers' object."""
    from transformers import PreTrainedTokenizerFast

    make, tokenizer_class = _TOKENIZERS[kind]
    tokenizer, special = make(cased=cased)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, padding_side=padding_side, **special
    )
    wrapped.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": tokenizer_class})
    return wrapped


def _bert(*, cased: bool) -> tuple[Any, dict[str, str]]:
    """Whole words, and every ASCII character as a beginning and a continuation, as BERT has them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    characters = [chr(code) for code in range(33, 127) if cased or not chr(code).isupper()]
    entries = [*SPECIAL, *WORDS, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer, {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }


def _roberta(*, cased: bool) -> tuple[Any, dict[str, str]]:
    """Byte-level BPE between <s> and </s>."""
    from tokenizers import processors

    tokenizer = _train_bytes(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer, {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }


def _qwen(*, cased: bool) -> tuple[Any, dict[str, str]]:
    """Byte-level BPE that ends a text with <|endoftext|>, as Qwen3-Embedding does."""
    from tokenizers import processors

    tokenizer = _train_bytes(["<|endoftext|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    return tokenizer, {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def _train_bytes(special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return tokenizer


def _xlm_roberta(*, cased: bool) -> tuple[Any, dict[str, str]]:
    """SentencePiece's Unigram between <s> and </s>, as XLM-R has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer, {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def _gemma(*, cased: bool) -> tuple[Any, dict[str, str]]:
    """BPE over characters that falls back to bytes, between <bos> and <eos>, as EmbeddingGemma has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    return tokenizer, {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def _sentences() -> list[str]:
    return [" ".join(WORDS[start : start + 9]) for start in range(0, len(WORDS), 3)]


_TOKENIZERS = {
    "bert": (_bert, "PreTrainedTokenizerFast"),
    "roberta": (_roberta, "RobertaTokenizer"),
    "xlm-roberta": (_xlm_roberta, "XLMRobertaTokenizer"),
    "qwen": (_qwen, "Qwen2Tokenizer"),
    "gemma": (_gemma, "GemmaTokenizer"),
}
