"""Vectors and token ids against the real sentence-transformers on the source's own files."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.admission import admit_texts
from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.export.verify import probe_texts
from ovembed.hub import DEFAULT_MODEL, find_source
from ovembed.local import LocalEmbedder
from ovembed.vectors import cosine
from tests import models

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.batches import Layout
    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry

TEXTS = """\
How do I reset a forgotten password?
To reset your password, open the settings and choose "Security".
The committee will meet again on the second Tuesday of May.
A man is playing the violin on a street corner.
Someone plays a string instrument outdoors.
Nobody came to the party.
The stock closed 3.4% lower at $57.12 after the report.
Temperatures will drop below -5 °C tonight.
Water boils at 100 degrees Celsius at sea level.
The mitochondrion is the powerhouse of the cell.
Aspirin inhibits the enzyme cyclooxygenase irreversibly.
Is it legal to record a phone call without consent?
The defendant pleaded not guilty on all counts.
Rust's borrow checker rejects programs with dangling references.
TypeError: unsupported operand type(s) for +: 'int' and 'str'
for (int i = 0; i < n; ++i) { total += values[i]; }
SELECT * FROM users WHERE last_login < NOW() - INTERVAL '30 days'
$ curl -s http://localhost:8000/v3/embeddings | jq '.data[0]'
<html><body><h1>It works!</h1></body></html>
{"a": [1, 2, {"b": null}], "c": "d"}
name,age,city
C:\\Users\\me\\Documents\\report_final_v2(3).docx
user.name+tag@sub.example.co.uk
192.168.0.1:8080
0x7fff5fbff8c8
a
I
42
...
!!!???
#hashtag @mention
e = mc^2
\u03b1 + \u03b2 \u2265 \u03b3
\u221a2 \u2248 1.41421356
caf\u00e9
cafe\u0301
na\u00efve fa\u00e7ade, co\u00f6perate
\u00dcber den Wolken muss die Freiheit wohl grenzenlos sein.
Il pleut des cordes depuis ce matin.
\u00bfD\u00f3nde est\u00e1 la biblioteca?
\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430?
\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d\u3002
\u6211\u559c\u6b22\u5728\u96e8\u5929\u8bfb\u4e66\u3002
\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645
\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd
\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e
\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.
\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01
\U0001f600\U0001f680\U0001f44d\U0001f3fd
zero\u200bwidth and soft\u00adhyphen
full\uff37\uff29\uff24\uff34\uff28 letters
non\u00a0breaking\u2003spaces
MiXeD cAsE wItH NUMB3RS
Pneumonoultramicroscopicsilicovolcanoniosis
Donaudampfschifffahrtsgesellschaftskapit\u00e4n
the the the the the the the the
[CLS] [SEP] [MASK] [PAD] [UNK]
Buy now!!! Limited offer >>> 50% OFF <<<
Once upon a time there was a miller who had three sons, a mill, a donkey and a cat.
""".splitlines()

LONG = [
    "the quick brown fox jumps over the lazy dog " * 100,
    "unbelievable " * 400,
    ("Contracts may be ended by either side, in writing, at the end of any month. " * 40).strip(),
    "x" * 3000,
]


# OVMS's tokenizer lowers case by folding it, so the Greek final sigma becomes a plain one.
KNOWN_TO_DIFFER = {"\u03c2"}


def sentence_transformer(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def reference(model: Any, texts: list[str]) -> Vectors:
    return np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False), dtype=np.float32)


def reference_ids(model: Any, texts: list[str]) -> list[list[int]]:
    """Each text alone, so that nothing is padded."""
    return [model.tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"] for text in texts]


def embed(entry: ModelEntry, texts: list[str], **settings: int) -> Vectors:
    engine = OpenVINOEngine.load(entry, EngineSettings())
    with LocalEmbedder(engine, entry.name, **settings) as embedder:
        return embedder.embed(texts, truncate=True).vectors


def lengths(rows: Vectors) -> Vectors:
    return np.asarray(np.linalg.norm(rows, axis=1), dtype=np.float32)


@pytest.fixture(scope="module")
def minilm() -> Any:
    return sentence_transformer(find_source(DEFAULT_MODEL).folder)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    assert len(TEXTS) >= 59
    return TEXTS + LONG


@pytest.fixture(scope="module")
def expected(minilm: Any, texts: list[str]) -> Vectors:
    return reference(minilm, texts)


@pytest.fixture(scope="module", params=["cls", "mean", "last"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return models.save_tiny_bert(folder / "tiny", pooling=request.param, normalize=False)


@pytest.fixture(scope="module")
def entry(source: Path) -> ModelEntry:
    return export_model(ExportRequest(str(source), precision="fp32"), ModelRepository(source.parent / "models"))


class TestPooling:
    """Every recipe that can be exported, on random weights where each layer matters."""

    def test_without_normalize_directions_and_lengths_are_the_sources(self, source: Path, entry: ModelEntry) -> None:
        exported, wanted = embed(entry, TEXTS + LONG), reference(sentence_transformer(source), TEXTS + LONG)
        assert cosine(exported, wanted).min() >= 0.9999
        np.testing.assert_allclose(lengths(exported), lengths(wanted), rtol=1e-4)
        assert not np.allclose(lengths(wanted), 1, atol=0.05)

    def test_with_normalize_every_row_has_length_one(self, source: Path, entry: ModelEntry, tmp_path: Path) -> None:
        """The encoder is the same; only what is said about it differs."""
        normalized = models.save_tiny_bert(tmp_path / "tiny", pooling=entry.spec.pooling, normalize=True)
        exported = embed(models.with_spec(entry, normalize=True), TEXTS + LONG)
        wanted = reference(sentence_transformer(normalized), TEXTS + LONG)
        assert cosine(exported, wanted).min() >= 0.9999
        np.testing.assert_allclose(exported, wanted, atol=1e-4)


class TestDefaultModel:
    def test_fp32_gives_the_sources_vectors(
        self, repository: ModelRepository, texts: list[str], expected: Vectors
    ) -> None:
        exported = embed(repository.get("minilm-fp32"), texts)
        assert cosine(exported, expected).min() >= 0.9999
        np.testing.assert_allclose(lengths(exported), lengths(expected), rtol=1e-4)

    def test_int8_is_near_the_source_for_odd_texts_too(
        self, repository: ModelRepository, texts: list[str], expected: Vectors
    ) -> None:
        """Bare punctuation and single letters round worst; whole sentences are held to more below."""
        cosines = cosine(embed(repository.get("minilm"), texts), expected)
        assert cosines.mean() >= 0.9985
        assert cosines.min() >= 0.99

    def test_sentences_of_a_benchmark(self, repository: ModelRepository, minilm: Any, sts_sentences: list[str]) -> None:
        sentences = sts_sentences[::10]
        wanted = reference(minilm, sentences)
        assert cosine(embed(repository.get("minilm-fp32"), sentences), wanted).min() >= 0.9999
        cosines = cosine(embed(repository.get("minilm"), sentences), wanted)
        assert cosines.mean() >= 0.999
        assert cosines.min() >= 0.99

    @pytest.mark.parametrize("max_batch_tokens", [1, 40, 300, 100_000])
    def test_company_in_a_batch_changes_nothing(
        self, max_batch_tokens: int, repository: ModelRepository, texts: list[str], expected: Vectors
    ) -> None:
        exported = embed(repository.get("minilm-fp32"), texts, max_batch_tokens=max_batch_tokens)
        assert cosine(exported, expected).min() >= 0.9999

    def test_long_texts_are_cut_where_sentence_transformers_cuts_them(
        self, repository: ModelRepository, minilm: Any
    ) -> None:
        entry = repository.get("minilm-fp32")
        with LocalEmbedder(OpenVINOEngine.load(entry), entry.name) as embedder:
            result = embedder.embed(LONG, truncate=True)
        assert result.truncated == (0, 1, 2)
        assert result.tokens[:3] == (256, 256, 256)
        assert cosine(result.vectors, reference(minilm, LONG)).min() >= 0.9999


class TestTokens:
    def test_ids_are_those_of_sentence_transformers(self, repository: ModelRepository, minilm: Any) -> None:
        texts = TEXTS + probe_texts()
        engine = OpenVINOEngine.load(repository.get("minilm-fp32"))
        assert admit_texts(engine, texts, truncate=True).tokens == reference_ids(minilm, texts)

    def test_ids_of_texts_that_are_cut(self, repository: ModelRepository, minilm: Any) -> None:
        engine = Recording.load(repository.get("minilm-fp32"))
        with LocalEmbedder(engine, "recording", max_batch_tokens=1) as embedder:
            embedder.embed(LONG, truncate=True)
        assert sorted(engine.seen) == sorted(reference_ids(minilm, LONG))

    @pytest.mark.parametrize("name", ["minilm", "tiny"])
    def test_the_tokenizer_for_ovms_gives_the_same_ids(self, name: str, repository: ModelRepository) -> None:
        """By itself it cuts to the model's length; servers switch that off."""
        entry = repository.get(name)
        texts = probe_texts() + TEXTS
        ours = admit_texts(OpenVINOEngine.load(entry), texts, truncate=True).tokens
        ovms = ovms_tokenizer(entry.folder)
        differing = [
            text for text, tokens in zip(texts, ours, strict=True) if ovms([text])["input_ids"][0].tolist() != tokens
        ]
        assert [text for text in differing if not set(text) & KNOWN_TO_DIFFER] == []


class Recording(OpenVINOEngine):
    @functools.cached_property
    def seen(self) -> list[list[int]]:
        return []

    def run(self, batch: Any, layout: Layout | None = None) -> Vectors:
        self.seen.extend([int(token) for token in row] for row in batch)
        return super().run(batch, layout)


def ovms_tokenizer(folder: Path) -> Any:
    import openvino as ov
    import openvino_tokenizers  # noqa: F401  (its import registers the operations)

    return ov.Core().compile_model(folder / "openvino_tokenizer.xml", "CPU")
