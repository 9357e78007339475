"""The Grafana dashboard and the alerting rules ask only for what /metrics tells, by the labels that it has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.http.kit import serving

DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "offload.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "offload-rules.yaml").read_text())
OF_PROMETHEUS = {"up": {"job"}}
"""What Prometheus itself adds, and the labels that every series gets."""
ALWAYS = {"instance", "le"}
SELECTOR = re.compile(r"\b(offload_[a-z_]+|up)\b(?:\{((?:[^{}\"]|\"[^\"]*\")*)\})?")
GROUPS = re.compile(r"\b(?:by|on) \(([^)]*)\)")
SERIES_SUFFIX = re.compile(r"_(bucket|sum|count)\Z")


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in RULES["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]


async def told(root: Path) -> dict[str, set[str]]:
    """Return every series and its labels, those too for which there are no samples yet."""
    from offload.engine.condition import BrokerState
    from offload.engine.stats import Stats
    from offload.http.metrics import _Snapshot
    from offload.http.stats import HttpStats

    found: dict[str, set[str]] = {}
    broker = BrokerState(trouble=None, reconnects=0)
    for family in _Snapshot(HttpStats(), Stats(), [], [], failing_hosts=0, broker=broker).collect():
        labels: set[str] = set(family._labelnames)  # type: ignore[attr-defined]
        names = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        found.update({f"{family.name}{suffix}": labels for suffix in names})
    async with serving(root) as server:
        await server.finished((await server.submit("ping"))["id"])
        text = (await server.client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == found[sample.name], sample
    return found


async def test_every_expression_asks_for_what_is_there(tmp_path: Path) -> None:
    known = {**await told(tmp_path), **OF_PROMETHEUS}
    asked = list(expressions())
    assert len(asked) > 40
    for title, expression in asked:
        used: set[str] = set()
        found = SELECTOR.findall(expression)
        assert found, f"{title}: {expression} asks for nothing"
        for name, selector in found:
            assert name in known, f"{title}: {name} is not told by /metrics"
            picked = {part for part in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector)}
            assert picked <= known[name] | ALWAYS, f"{title}: {name} has no label {picked - known[name]}"
            used |= known[name]
        for group in GROUPS.findall(expression):
            labels = {label.strip() for label in group.split(",")}
            assert labels <= used | ALWAYS, f"{title}: {labels - used} is no label of what is asked for"
        assert expression.count("(") == expression.count(")") and expression.count("[") == expression.count("]")


async def test_every_metric_is_on_the_dashboard_or_there_is_a_reason(tmp_path: Path) -> None:
    shown = " ".join(expression for _, expression in expressions())
    left_out = {SERIES_SUFFIX.sub("", name) for name in await told(tmp_path) if name not in shown}
    left_out = {name for name in left_out if name not in shown}
    assert left_out == {
        "offload_schedules_late_seconds_total",  # only of interest where schedules are
        "offload_schedules_held_up_total",
        "offload_broker_reconnects_total",  # the broker that is down is what matters
        "offload_fetch_bytes_total",
        "offload_push_bytes_total",
    }


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) and DASHBOARD["uid"] == "offload" and DASHBOARD["schemaVersion"] >= 36
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "queue", "job"}
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, f"{panel['title']} lies over another"
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$([a-z]+)\b", target["expr"])) <= variables
            legend: list[str] = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            groups: list[str] = [
                label.strip() for group in GROUPS.findall(target["expr"]) for label in group.split(",")
            ]
            assert set(legend) <= set(groups), panel["title"]


def test_every_rule_says_what_it_means() -> None:
    for rule in RULES["groups"][0]["rules"]:
        about: dict[str, Any] = rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info") and about["summary"], rule
        assert rule["alert"].startswith("Offload")
