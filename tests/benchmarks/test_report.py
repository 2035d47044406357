"""Results, tables, goals, chart and the quotation in the documentation, on invented samples."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import chart, goals, report
from benchmarks.contestants import PEERS
from benchmarks.peers import Gatewayd, VllmRouter
from benchmarks.proxies import Nginx
from benchmarks.results import DIRECT, Results


@pytest.fixture
def results() -> Results:
    found = Results(
        "quick",
        date="2026-01-02 03:04 UTC",
        machine={"cpu": "x", "cores": "2", "kernel": "k", "python": "3", "load": "0"},
    )
    for number, peer in enumerate(PEERS, 1):
        found.versions[peer.name] = "1.0"
        for case in ("unary-64", "stream"):
            for sample in (10.0, 11.0, 12.0):
                found.add(case, peer.name, cpu_us=sample * number**3, rate=1000.0, p50_ms=1.0, p99_ms=2.0)
                found.add(case, peer.name, added_p50_ms=0.5 * number, added_p99_ms=1.5)
    found.add("unary-64", DIRECT, rate=60_000.0, p50_ms=0.5, p99_ms=0.5)
    found.add("reload-1000", Gatewayd.name, one_s=0.4, every_s=0.6, stall_ms=30.0, quiet_ms=1.0, rss_mb=80.0)
    found.missing["smg: large"] = "it was not there <yet>"
    return found


def test_saved_results_are_the_same_when_loaded(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "sub" / "latest.json")
    assert Results.load(tmp_path / "sub" / "latest.json") == results


def test_the_direct_row_is_no_gateway(results: Results) -> None:
    assert DIRECT in results.samples["unary-64"]
    assert results.gateways("unary-64") == [peer.name for peer in PEERS]


def test_what_was_not_measured_is_none(results: Results) -> None:
    assert results.median("unary-64", "another", "cpu_us") is None
    assert results.spread("large", Nginx.name, "cpu_us") is None


def test_every_gateway_and_everything_missing_is_in_text_and_markdown(results: Results) -> None:
    for text in (report.text(results), report.markdown(results, "x.svg")):
        for peer in PEERS:
            assert peer.name in text
        assert "smg: large: it was not there" in text
        assert "2026-01-02" in text


def test_ratios(results: Results) -> None:
    table = next(table for table in report.tables(results) if table.title.startswith("Small requests (216"))
    ours = next(row for row in table.rows if row[0] == Gatewayd.name)
    assert ours[table.header.index("× nginx")] == "8"
    assert ours[1] == "88 (80 - 96)"


def test_columns_that_hold_nothing_are_left_out() -> None:
    table = report.Table("t", ("a", "b", "c"), (("1", "", "3"), ("4", "", "")))
    assert table.header == ("a", "c")
    assert table.rows == (("1", "3"), ("4", ""))


def test_goals(results: Results) -> None:
    verdicts = {found.goal.text: found for found in goals.check(results)}
    assert verdicts["CPU per request, times nginx's"].value == pytest.approx(8)
    assert verdicts["CPU per request, times nginx's"].word == "missed"
    assert verdicts["CPU per request, part of LiteLLM's"].word == "reached"
    assert verdicts["reload of 1,000 models in effect, seconds, worst"].value == 0.6
    assert verdicts["longest stall during reloads of 1,000 models, ms"].word == "missed"
    assert verdicts["longest stall during reloads of 10,000 models, ms"].word == "not measured"
    assert verdicts["added p50 at 64 connections, part of vllm-router's"].value == pytest.approx(
        2 / (1 + PEERS.index(VllmRouter))
    )


@pytest.mark.parametrize("peers", [0, 1, len(PEERS)])
def test_the_chart_is_xml_with_one_bar_a_gateway(results: Results, peers: int) -> None:
    kept = {peer.name for peer in PEERS[:peers]}
    results.samples = {
        case: {name: found for name, found in gateways.items() if name in kept}
        for case, gateways in results.samples.items()
    }
    root = ElementTree.fromstring(chart.svg(results))
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if "rx" in bar.attrib]
    assert len(bars) == 2 * peers
    assert all(0 < float(bar.attrib["width"]) <= 860 for bar in bars)


def test_the_block_in_the_document_is_replaced() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.quoted(document, "new")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith(f"new\n\n{report.END}\nafter\n")
    assert report.quoted(once, "new") == once
    with pytest.raises(ValueError, match="no <!--"):
        report.quoted("no marks", "new")


def test_the_document_has_the_marks() -> None:
    document = Path(__file__).parents[2] / "docs" / "performance.md"
    assert report.BEGIN in report.quoted(document.read_text(encoding="utf-8"), "x")
