"""The dashboard shows what the server measures: every name in it exists, and every measure of the design is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.runtime.metrics import ServingMetrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "observability"
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "axon.json").read_text(encoding="utf-8"))
PROMETHEUS: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
OF_THE_SCRAPE = {"instance", "job", "le"}  # labels that no metric of ours has: Prometheus adds them


def measures() -> dict[str, set[str]]:
    """The samples that /metrics can have, and the labels of each."""
    metrics = ServingMetrics()
    found: dict[str, set[str]] = {}
    for collector in list(metrics.registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            suffixes = {
                "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"),
            }.get(family.type, ("",))  # fmt: skip
            found |= {family.name + suffix: labels for suffix in suffixes}
    return found


def queries() -> Iterator[tuple[str, str]]:
    """(panel, query)"""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


MEASURES = measures()


@pytest.mark.parametrize(("panel", "query"), list(queries()))
def test_every_name_and_label_in_a_query_is_the_servers(panel: str, query: str) -> None:
    selectors = re.findall(r"\b((?:axon|process)_\w+)(?:\{([^}]*)\})?", query)
    assert selectors
    for name, matchers in selectors:
        assert name in MEASURES, f"{panel}: there is no {name}"
        assert set(re.findall(r"(\w+)\s*[=!]~?", matchers)) <= MEASURES[name] | OF_THE_SCRAPE, panel
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= set().union(*(MEASURES[name] for name, _ in selectors)) | OF_THE_SCRAPE, panel


def test_every_measure_is_on_the_dashboard() -> None:
    shown = " ".join(query for _, query in queries())
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in MEASURES if name.startswith("axon_")}
    assert [name for name in sorted(families) if name not in shown] == []


def test_the_legends_name_labels_that_the_queries_leave() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in group.split(",")}
            assert labels <= (grouped or OF_THE_SCRAPE), panel["title"]


def test_the_panels_do_not_overlap_and_each_has_a_number_of_its_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        mine = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not mine & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= mine
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yml").read_text(encoding="utf-8"))["datasources"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    used |= {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    used |= {variable["datasource"]["uid"] for variable in DASHBOARD["templating"]["list"]}
    assert used == {source["uid"]}
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_grafana_finds_the_dashboard_where_compose_puts_it() -> None:
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yml").read_text(encoding="utf-8"))["providers"]
    targets = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/axon.json" in targets
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in targets
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["model", "instance"]


def test_prometheus_asks_the_servers_of_the_compose_file_at_their_port() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert set(names["names"]) == {"api", "api-gpu"}
    for name in names["names"]:
        assert SERVICES[name]["ports"][0].endswith(f":{names['port']}")
    assert job["metrics_path"] == "/metrics"
