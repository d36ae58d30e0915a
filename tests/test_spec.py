from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ovembed.errors import InputError
from ovembed.spec import ModelSpec

GOLDEN = ModelSpec(
    source="intfloat/e5-small",
    revision="abc",
    weights_sha256="ab" * 32,
    precision="full-int8",
    calibration_sha256="12" * 32,
    pooling="mean",
    normalize=True,
    max_tokens=512,
    dimensions=384,
    prompts={"query": "query: ", "passage": "passage: "},
    default_prompt="query",
)


def test_fingerprint_never_changes_between_versions() -> None:
    assert GOLDEN.fingerprint == "1cb14a8a3855bf71"


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "cd" * 32},
        {"precision": "int8"},
        {"calibration_sha256": "34" * 32},
        {"pooling": "cls"},
        {"normalize": False},
        {"max_tokens": 256},
        {"dimensions": 128},
        {"prompts": {"query": "query: "}},
        {"prompts": {"query": "Query: ", "passage": "passage: "}},
        {"default_prompt": None},
    ],
    ids=str,
)
def test_fingerprint_differs_with_every_setting_that_changes_vectors(change: dict[str, object]) -> None:
    assert replace(GOLDEN, **change).fingerprint != GOLDEN.fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"source": "/home/me/e5"}, {"revision": None}, {"revision": "def"}], ids=str)
def test_fingerprint_does_not_depend_on_where_the_model_came_from(change: dict[str, object]) -> None:
    assert replace(GOLDEN, **change).fingerprint == GOLDEN.fingerprint  # type: ignore[arg-type]


def test_fingerprint_does_not_depend_on_the_order_of_prompts() -> None:
    turned = replace(GOLDEN, prompts=dict(reversed(list(GOLDEN.prompts.items()))))
    assert turned.fingerprint == GOLDEN.fingerprint


def test_prompt_by_name_and_by_default() -> None:
    assert GOLDEN.prompt("passage") == "passage: "
    assert GOLDEN.prompt() == "query: "
    assert replace(GOLDEN, default_prompt=None).prompt() == ""


def test_unknown_prompt_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no prompt 'title' \(it has: passage, query\)"):
        GOLDEN.prompt("title")
    with pytest.raises(InputError, match=r"\(it has: none\)"):
        replace(GOLDEN, prompts={}, default_prompt=None).prompt("title")


def test_json_round_trip() -> None:
    read = ModelSpec.from_json(json.loads(json.dumps(GOLDEN.to_json())))
    assert read == GOLDEN
    assert read.fingerprint == GOLDEN.fingerprint


def test_json_of_a_newer_version_may_say_more_but_not_less() -> None:
    content = GOLDEN.to_json()
    assert ModelSpec.from_json(content | {"added_later": 1}) == GOLDEN
    del content["pooling"]
    with pytest.raises(KeyError, match="pooling"):
        ModelSpec.from_json(content)
