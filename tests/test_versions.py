from __future__ import annotations

import pytest

from ovembed.errors import InputError
from ovembed.repository import NEWEST, SUPPORTED, OvmsVersion, ovms_version
from ovembed.spec import POOLINGS

# What a reading of OVMS's sources says, release by release: layout, poolings done right, how texts are cut.
FACTS = {
    "2025.0": ("classic", {"cls"}, "tokenizer"),
    "2025.1": ("classic", {"cls"}, "tokenizer"),
    "2025.2": ("ov", {"cls"}, "none"),
    "2025.3": ("ov", {"cls", "last"}, "graph"),
    "2025.4": ("ov", {"cls", "last", "mean"}, "graph"),
    "2026.0": ("ov", {"cls", "last", "mean"}, "graph"),
    "2026.1": ("ov", {"cls", "last", "mean"}, "graph"),
    "2026.2": ("ov", {"cls", "last", "mean"}, "graph"),
    "2026.3": ("ov", {"cls", "last", "mean"}, "none"),
}


def test_every_release_is_there_in_order() -> None:
    assert [version.name for version in SUPPORTED] == list(FACTS)
    assert NEWEST.name == "2026.3"


@pytest.mark.parametrize("version", SUPPORTED, ids=lambda version: version.name)
def test_each_does_what_its_sources_say(version: OvmsVersion) -> None:
    layout, poolings, truncation = FACTS[version.name]
    assert version.layout == layout
    assert {pooling for pooling in POOLINGS if version.pools(pooling)} == poolings
    assert version.truncation == truncation
    assert version.truncates == (truncation != "none")
    assert version.graph_pool == (version.name == "2026.3")
    assert version.subconfig == (version.name <= "2025.3")


@pytest.mark.parametrize("version", SUPPORTED, ids=lambda version: version.name)
def test_a_release_is_found_by_its_name(version: OvmsVersion) -> None:
    assert ovms_version(version.name) is version


@pytest.mark.parametrize("patch", ["2025.2.1", "2025.4.1", "2026.2.1"])
def test_a_patch_release_is_its_minor_release(patch: str) -> None:
    assert ovms_version(patch).name == patch.rpartition(".")[0]


@pytest.mark.parametrize("name", ["2026.4", "2026.10", "2027.0", "2027.0.1"])
def test_a_newer_one_is_refused_with_the_newest_there_is(name: str) -> None:
    with pytest.raises(InputError, match=rf"OVMS {name} is newer than this ovembed knows\..*; take 2026\.3\."):
        ovms_version(name)


@pytest.mark.parametrize("name", ["", "2024.5", "2025", "2025.5", "latest", "v2025.3", "2025.3.", "2025.3\n", "٢٠٢٧.0"])
def test_what_is_no_release_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError, match=r"is no OVMS version .*There is: 2025\.0, 2025\.1, .*, 2026\.3\.") as caught:
        ovms_version(name)
    assert name in str(caught.value)
