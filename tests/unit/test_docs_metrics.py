"""Every metric is explained, and the dashboard and the alert rules ask for no other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hub import metrics

DOCS = Path(__file__).parents[2] / "docs"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def declared() -> dict[str, str]:
    """Each metric of the hub's by its name as it is scraped, a histogram's without its suffixes, to its type."""
    registries: tuple[CollectorRegistry, ...] = (metrics.PROCESS, metrics.SHARED)
    families = [family for registry in registries for family in registry.collect() if family.name.startswith("hub_")]
    return {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}


def labels() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for value in vars(metrics).values():
        if isinstance(value, (Counter, Gauge, Histogram)):
            name, names = (getattr(value, private) for private in ("_name", "_labelnames"))  # there is no public way
            found[name] = tuple(names)
    return found


def scraped() -> set[str]:
    """Every name that a query may use."""
    bases = {name.removesuffix("_total") if kind == "counter" else name: kind for name, kind in declared().items()}
    return {base + suffix for base, kind in bases.items() for suffix in SUFFIXES[kind]}


def rows() -> dict[str, list[str]]:
    """The cells of docs/metrics.md by metric."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(hub_[a-z_]+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}


def test_every_metric_is_explained_and_none_that_is_gone() -> None:
    assert set(rows()) == set(declared())


@pytest.mark.parametrize("name", sorted(declared()))
def test_a_metrics_type_and_labels_are_those_that_are_documented(name: str) -> None:
    kind, shown, what = rows()[name]
    assert kind == declared()[name]
    assert tuple(re.findall(r"`([a-z]+)`", shown)) == labels()[name.removesuffix("_total")]
    assert what


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    board: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(queries) > 30
    assert {name for query in queries for name in re.findall(r"\bhub_[a-z_]+", query)} <= scraped()


def test_the_dashboards_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(at["x"] + x, at["y"] + y) for at in (panel["gridPos"] for panel in panels)
              for x in range(at["w"]) for y in range(at["h"])]  # fmt: skip
    assert len(set(places)) == len(places)


def test_the_alerts_ask_only_for_metrics_that_exist_and_each_says_the_mend() -> None:
    text = (DOCS / "alerts.yml").read_text(encoding="utf-8")
    rules = re.split(r"^      - alert: ", text, flags=re.MULTILINE)[1:]
    names = {name for rule in rules for name in re.findall(r"\bhub_[a-z_]+", rule)}
    assert names <= scraped()
    for rule in rules:
        assert re.search(r"^ +expr: .", rule, re.MULTILINE)
        assert re.search(r"^ +summary: .", rule, re.MULTILINE)
        assert re.search(r"^ +mend: .", rule, re.MULTILINE)
        assert re.search(r"severity: (critical|warning)", rule)
