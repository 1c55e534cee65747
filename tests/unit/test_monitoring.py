"""Monitoring kept true: the documents know every figure and every line of the log, and alerts and dashboard
name nothing else."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from log_events import logged

from appliance.api.exposition import PREFIX, Family, text
from appliance.api.metric_table import FAMILIES
from appliance.model.tally import Spread, Tally

ROOT = Path(__file__).resolve().parents[2]
DOCS, MONITORING = ROOT / "web" / "docs", ROOT / "packaging" / "monitoring"
LANGUAGES = ("en", "id")
ITEM = re.compile(r"^- `(\w+)` \(([a-z, ]+)(?:; ([^)]+))?\): (.+)$", re.MULTILINE)
CODE = re.compile(r"`(\w+)`")
SERIES = {
    f.full_name + end: f
    for f in FAMILIES
    for end in (("_bucket", "_sum", "_count") if f.kind == "histogram" else ("",))
}
ADDED_BY_PROMETHEUS = {"instance", "job", "le"}


def items(language: str, page: str) -> dict[str, tuple[str, set[str]]]:
    """The page's lists: by name what stands first in the brackets, and the names that follow there."""
    source = (DOCS / language / f"{page}.md").read_text("utf-8")
    found = [item.groups(default="") for item in ITEM.finditer(source)]
    assert len({name for name, *_ in found}) == len(found), "a name stands there twice"
    assert all(len(meaning) > 5 for *_, meaning in found)
    return {name: (second, set(CODE.findall(third))) for name, second, third, _ in found}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_know_every_figure_and_no_other(language: str) -> None:
    told = items(language, "monitoring")
    assert told == {f.full_name: (f.kind, set(f.labels)) for f in FAMILIES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_know_every_line_of_the_log_and_no_other(language: str) -> None:
    told = items(language, "logs")
    # What the formatter calls a library's line, and nobody writes by that name.
    told.pop("library_log")
    written = {name: (", ".join(sorted(event.levels)), event.fields) for name, event in logged().items()}
    assert told == written


def expressions() -> list[str]:
    """Every query of the alerts and of the dashboard."""
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    found = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    found += [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    found += [each["expr"] for each in board["annotations"]["list"]]
    return found + [each["definition"] for each in board["templating"]["list"] if "definition" in each]


def test_alerts_and_dashboard_name_only_figures_and_labels_that_exist() -> None:
    used: set[str] = set()
    for expression in expressions():
        for name, inside in re.findall(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?", expression):
            assert name in SERIES, f"{name} in {expression}"
            labels = set(re.findall(r"(\w+)[!=]~?=?\"", inside))
            assert labels <= {*SERIES[name].labels, *ADDED_BY_PROMETHEUS}, expression
            used.add(SERIES[name].name)
    assert len(used) > 40


def test_a_legend_and_a_sum_name_labels_of_their_query() -> None:
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            series = [SERIES[name] for name in re.findall(rf"{PREFIX}\w+", target["expr"])]
            known = ADDED_BY_PROMETHEUS | {label for family in series for label in family.labels}
            named = re.findall(r"{{(\w+)}}", target["legendFormat"])
            named += [w for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for w in by.split(", ")]
            assert set(named) <= known, target


def test_the_dashboard_takes_any_data_source_and_its_panels_lie_apart() -> None:
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    assert [each["type"] for each in board["templating"]["list"]] == ["datasource", "query"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_alerts_say_what_to_do() -> None:
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))
    for rule in alerts["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert len(rule["annotations"]["description"]) > 30
        for event in re.findall(r"\((\w+_\w+)\)", rule["annotations"]["description"]):
            assert event in logged(), event


CASES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'wa_gateway_device_connected{{device="d", sandbox="false"}}'
        values: '1x5 0x30'
      - series: 'wa_gateway_device_connected{{device="s", sandbox="true"}}'
        values: '0x35'
      - series: 'wa_gateway_messages_settled_total{{sandbox="false", status="sent", code=""}}'
        values: '0+3x60'
      - series: 'wa_gateway_messages_settled_total{{sandbox="false", status="failed", code="x"}}'
        values: '0+1x60'
      - series: 'wa_gateway_webhook_attempts_total{{outcome="dead", answer="5xx"}}'
        values: '0x10 1x50'
      - series: 'wa_gateway_delivery_lag_seconds{{state="failing"}}'
        values: '9000x60'
    promql_expr_test:
      - expr: 'count(ALERTS{{alertname="WaGatewayDeviceNotConnected", alertstate="firing"}})'
        eval_time: 10m
      - expr: 'count by (device) (ALERTS{{alertname="WaGatewayDeviceNotConnected", alertstate="firing"}})'
        eval_time: 20m
        exp_samples: [{{labels: '{{device="d"}}', value: 1}}]
      - expr: 'count by (alertname) (ALERTS{{alertstate="firing"}})'
        eval_time: 35m
        exp_samples:
          - {{labels: '{{alertname="WaGatewayDeviceNotConnected"}}', value: 1}}
          - {{labels: '{{alertname="WaGatewaySendsFail"}}', value: 1}}
          - {{labels: '{{alertname="WaGatewayDeliveriesDead"}}', value: 1}}
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_alerts_and_they_ring_when_they_should(tmp_path: Path) -> None:
    rules, cases = MONITORING / "alerts.yaml", tmp_path / "cases.yaml"
    cases.write_text(CASES.format(rules=rules))
    for command in (["check", "rules", str(rules)], ["test", "rules", str(cases)]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def one(reading: Any, labels: tuple[str, ...] = ()) -> list[str]:
    """The samples of one family that reads so."""
    family: Family[None] = Family("x", "gauge", "X.", lambda _source: reading, labels)
    return text([family], None).splitlines()[2:]


def test_samples_are_written_as_prometheus_reads_them() -> None:
    assert one(1.5) == ["wa_gateway_x 1.5"]
    assert one(True) == ["wa_gateway_x 1"]
    assert one(1 << 40) == ["wa_gateway_x 1099511627776"]
    assert one(None) == []
    assert one({('a"\\\n',): 2}, ("l",)) == ['wa_gateway_x{l="a\\"\\\\\\n"} 2']
    counts = Tally(("new",))
    counts.add("old", by=3)
    assert one(counts, ("age",)) == ['wa_gateway_x{age="new"} 0', 'wa_gateway_x{age="old"} 3']


def test_a_spread_has_cumulative_buckets_and_a_bound_belongs_below_it() -> None:
    spread = Spread((0.1, 1))
    for value in (0.1, 0.2, 7):
        spread.note(value)
    assert one(spread) == [
        'wa_gateway_x_bucket{le="0.1"} 1',
        'wa_gateway_x_bucket{le="1"} 2',
        'wa_gateway_x_bucket{le="+Inf"} 3',
        "wa_gateway_x_sum 7.3",
        "wa_gateway_x_count 3",
    ]
