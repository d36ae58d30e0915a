"""examples/grafana-dashboard.json asks for what /metrics gives."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeEngine
from tests.test_service import embed, get, serving

DASHBOARD = Path(__file__).parents[1] / "examples" / "grafana-dashboard.json"
METRIC = re.compile(r"\b(?:ovembed|process)_\w+")
SELECTOR = re.compile(r"(\w+)\s*\{([^}]*)\}")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def page() -> str:
    with serving(FakeEngine()) as service:
        embed(service)
        return get(service, "/metrics").text


def queries(dashboard: dict[str, Any]) -> list[str]:
    variables = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return variables + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_it_asks_for_is_there(dashboard: dict[str, Any], page: str) -> None:
    offered = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
    asked = {name for query in queries(dashboard) for name in METRIC.findall(query)}
    assert asked <= offered
    ours = {name for name in offered if name.startswith("ovembed_")}
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in ours}
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in asked}
    assert families <= shown, "every metric of ours is on the dashboard"


def test_every_label_it_selects_or_shows_is_there(dashboard: dict[str, Any], page: str) -> None:
    by_prometheus = {"job", "instance", "le"}
    for query in queries(dashboard):
        for metric, selected in SELECTOR.findall(query):
            offered = set(re.findall(r"(\w+)=\"", "".join(re.findall(rf"^{metric}\{{(.*)\}} ", page, re.MULTILINE))))
            assert set(re.findall(r"(\w+)=~?\"", selected)) <= offered | by_prometheus, query


def test_panels_have_a_place_a_title_and_the_chosen_source(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len(panels) >= 10
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["targets"]
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels]
    assert all(left < right for left, right in pairwise(places))
