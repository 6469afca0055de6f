"""The dashboard for Grafana asks for metrics and labels that are there."""

import json
import re

from arriero.supervisor.metrics.declared import ALL
from tests.paths import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana.json").read_text())
SUFFIXES = {
    "counter": ("",),
    "gauge": ("",),
    "summary": ("_sum", "_count"),
    "histogram": ("_bucket", "_sum", "_count"),
}
SERIES = {it.name + suffix: it for it in ALL for suffix in SUFFIXES[it.kind]}
ADDED = {"job", "le"}  # by Prometheus, and of histograms
SAMPLE = re.compile(r"\b((?:arriero|llamaswap)_\w+)(?:\{(.*?)\})?")


def expressions() -> list[str]:
    panels = [it for it in DASHBOARD["panels"] if it["type"] != "row"]
    variables = [it["definition"] for it in DASHBOARD["templating"]["list"] if "definition" in it]
    return [target["expr"] for panel in panels for target in panel["targets"]] + variables


def test_queries_ask_for_series_that_are_there() -> None:
    for expression in expressions():
        used = SAMPLE.findall(expression)
        assert used, expression
        known = {label for name, _ in used for label in SERIES[name].labels} | ADDED
        for name, selectors in used:
            asked = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selectors))
            assert asked <= {*SERIES[name].labels, "job"}, expression
        grouped = re.findall(r"by \((.*?)\)", expression)
        assert {label for labels in grouped for label in labels.split(", ")} <= known, expression


def test_counters_are_asked_for_their_rates() -> None:
    for expression in expressions():
        for name, _ in SAMPLE.findall(expression):
            is_rate = re.search(rf"(?:rate|increase)\({name}\b", expression) is not None
            assert is_rate == (SERIES[name].kind != "gauge"), expression


def test_every_panel_has_a_place_of_its_own() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
