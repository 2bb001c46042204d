"""The dashboard and the alert rules of `deploy/` name metrics and labels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from sluiceway.server.metrics.exposition import make_registry
from sluiceway.uploads.totals import CODES, Totals

DEPLOY = Path(__file__).parents[2] / "deploy"
WORDS = re.compile(r"sluiceway_[a-z_]+")
OF_PROMETHEUS = {"instance", "job"}


def exposed() -> dict[str, set[str]]:
    """Name of each sample -> its labels."""
    found: dict[str, set[str]] = {}
    for metric in make_registry(lambda: [Totals()], "./uploads").collect():
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions(name: str) -> list[str]:
    text = (DEPLOY / name).read_text("utf-8")
    if name.endswith(".json"):
        targets = [target for panel in json.loads(text)["panels"] for target in panel["targets"]]
        return [target["expr"] for target in targets]
    return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yaml"])
def test_each_metric_and_label_exists(name: str) -> None:
    """Also the error codes that a rule selects."""
    names = exposed()
    assert len(expressions(name)) >= 8
    for expression in expressions(name):
        used = set(WORDS.findall(expression))
        assert used, expression
        assert used <= set(names), expression
        labels = set(re.findall(r"(\w+)=~?\"", expression))
        for group in re.findall(r"(?:by|on) \(([\w, ]+)\)", expression):
            labels |= set(group.split(", "))
        assert labels <= set().union(*(names[one] for one in used)) | OF_PROMETHEUS, expression
        for codes in re.findall(r"code=~?\"([\w|-]+)\"", expression):
            assert set(codes.split("|")) <= set(CODES), expression


def test_the_dashboard_shows_each_metric() -> None:
    """But for those that only say when a count began."""
    shown = set(WORDS.findall(" ".join(expressions("grafana.json"))))
    counts = {name for name in exposed() if not name.endswith(("_created", "_count", "_sum"))}
    assert counts - shown == {"sluiceway_sweeps_total"}
