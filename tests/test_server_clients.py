"""Real clients against the application on a port."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
import tiktoken
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from langchain_openai import OpenAIEmbeddings

from ovembed import vectors
from ovembed.errors import TextTooLong
from ovembed.remote import RemoteEmbedder
from tests.fakes import FakeEngine, make_spec
from tests.serving import PATIENCE_S, application, expected, on_a_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PROMPTS = {"query": "q: ", "document": "d: "}
TEXTS = ["first text", "second", "Grüße"]


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(make_spec(prompts=PROMPTS))


@pytest.fixture(scope="module")
def url(engine: FakeEngine) -> Iterator[str]:
    with application({"org/fake": engine}) as (app, _), on_a_port(app) as url:
        yield url


@pytest.fixture(autouse=True)
def no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "none")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=["v1", "v3"])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[openai.OpenAI]:
    transport = httpx.Client(trust_env=False)
    with openai.OpenAI(
        base_url=f"{url}/{request.param}", api_key="none", max_retries=0, http_client=transport
    ) as client:
        yield client


def rows_of(reply: openai.types.CreateEmbeddingResponse) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([item.embedding for item in reply.data], dtype=np.float32)


def test_openai_with_every_kind_of_input(client: openai.OpenAI, engine: FakeEngine) -> None:
    tokens = engine.tokenize(TEXTS)
    for given in (TEXTS, tokens):
        reply = client.embeddings.create(model="org/fake", input=given)
        np.testing.assert_array_equal(rows_of(reply), expected(engine, *TEXTS))
        assert reply.model == "org/fake"
        assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(map(len, tokens))
    for one in (TEXTS[0], tokens[0]):
        reply = client.embeddings.create(model="org/fake", input=one, encoding_format="float")
        np.testing.assert_array_equal(rows_of(reply), expected(engine, TEXTS[0]))


def test_openai_with_every_option(client: openai.OpenAI, engine: FakeEngine) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="org/fake",
        input=["a", "x" * 30],
        dimensions=3,
        user="somebody",
        extra_body={"truncate": True, "input_type": "query"},
    )
    assert "Matryoshka" in raw.headers["X-Ovembed-Warning"]
    reply = raw.parse()
    np.testing.assert_array_equal(rows_of(reply), vectors.cut(expected(engine, "q: a", "q: " + "x" * 11), 3))
    assert reply.model_extra is not None
    assert reply.model_extra["ovembed"]["truncated"] == [1]


def test_openai_lists_the_models(client: openai.OpenAI) -> None:
    [listed] = client.models.list()
    assert listed.id == "org/fake"
    assert client.models.retrieve("org/fake") == listed


def test_openai_gets_its_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="a")
    for text_input, told in (([[15339, 1917]], "check_embedding_ctx_length=False"), ("x" * 30, "16")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="org/fake", input=text_input)
        assert told in caught.value.response.text


def test_openai_s_asynchronous_client(url: str, engine: FakeEngine) -> None:
    async def ask() -> list[openai.types.CreateEmbeddingResponse]:
        transport = httpx.AsyncClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=transport) as client:
            questions = (client.embeddings.create(model="org/fake", input=text) for text in TEXTS)
            return await asyncio.gather(*questions)

    replies = asyncio.run(ask())
    np.testing.assert_array_equal(np.concatenate(list(map(rows_of, replies))), expected(engine, *TEXTS))


@pytest.fixture
def langchain(url: str) -> Callable[..., OpenAIEmbeddings]:
    def make(**options: Any) -> OpenAIEmbeddings:
        return OpenAIEmbeddings(model="org/fake", base_url=f"{url}/v1", **options)

    return make


def test_langchain_with_texts(langchain: Callable[..., OpenAIEmbeddings], engine: FakeEngine) -> None:
    embeddings = langchain(check_embedding_ctx_length=False)
    np.testing.assert_array_equal(np.float32(embeddings.embed_documents(TEXTS)), expected(engine, *TEXTS))
    np.testing.assert_array_equal(np.float32(embeddings.embed_query("a")), expected(engine, "a")[0])
    assert len(langchain(check_embedding_ctx_length=False, dimensions=3).embed_query("a")) == 3


def test_langchain_s_default_sends_ids_of_another_tokenizer_and_is_told_what_to_set(
    langchain: Callable[..., OpenAIEmbeddings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as their vocabulary shows it. tiktoken loads its own from the internet; here its ids are made of bytes."""
    ranks = {bytes([byte]): 50_000 + byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        langchain().embed_query("a")


@pytest.mark.parametrize("path", ["", "/", "/embed"])
def test_hugging_face_s_client(url: str, engine: FakeEngine, path: str) -> None:
    client = InferenceClient(model=url + path)
    np.testing.assert_array_equal(client.feature_extraction(TEXTS), expected(engine, *TEXTS))
    np.testing.assert_array_equal(client.feature_extraction("a"), expected(engine, "a"))
    np.testing.assert_array_equal(client.feature_extraction("a", prompt_name="query"), expected(engine, "q: a"))
    np.testing.assert_array_equal(
        client.feature_extraction("x" * 30, truncate=True, normalize=True, truncation_direction="right"),
        expected(engine, "x" * 14),
    )
    with pytest.raises(HfHubHTTPError, match="413"):
        client.feature_extraction("x" * 30)


def test_haystack_s_call_of_hugging_face_s_client(url: str, engine: FakeEngine) -> None:
    """Its embedders send `truncate=True, normalize=False` unless told otherwise."""
    row = InferenceClient(url, token=None).feature_extraction(text="a", truncate=True, normalize=False)
    np.testing.assert_array_equal(row, expected(engine, "a"))


def test_hugging_face_s_asynchronous_client(url: str, engine: FakeEngine) -> None:
    async def ask() -> object:
        async with AsyncInferenceClient(model=url) as client:
            return await client.feature_extraction(TEXTS)

    np.testing.assert_array_equal(asyncio.run(ask()), expected(engine, *TEXTS))  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v3/embeddings"])
def test_curl_without_a_content_type(url: str, engine: FakeEngine, path: str) -> None:
    result = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", url + path, "-d", '{"model": "org/fake", "input": "a"}'],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    [item] = json.loads(result.stdout)["data"]
    np.testing.assert_array_equal(np.float32(item["embedding"]), expected(engine, "a")[0])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_gets_ovms_s_status_for_a_path_that_climbs(url: str) -> None:
    result = subprocess.run(
        [
            *("curl", "--silent", "--noproxy", "*", "--path-as-is", "-w", "%{http_code}"),
            f"{url}/v3/../embeddings",
            *("-d", "{}"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert result.stdout == '{"error":"The provided base path is invalid or doesn\'t exists"}400'


def test_our_own_client(url: str, engine: FakeEngine) -> None:
    with RemoteEmbedder(url) as remote:
        np.testing.assert_array_equal(remote.embed(TEXTS).vectors, expected(engine, *TEXTS))
        with pytest.raises(TextTooLong):
            remote.embed(["x" * 30])
