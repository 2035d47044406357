"""A run as tables: for the terminal, and as Markdown between two marks in docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import goals
from benchmarks.measure import Spread
from benchmarks.peers import Gatewayd, LiteLLM
from benchmarks.proxies import Nginx
from benchmarks.results import Results

BEGIN = "<!-- benchmark: begin (written by `python -m benchmarks`) -->"
END = "<!-- benchmark: end -->"


_ADDED = ("unary", "large")
"""Cases with a sample without any gateway."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Leave out columns in which nothing stands: what this run did not measure."""
        kept = [i for i in range(len(self.header)) if any(row[i] for row in self.rows)]
        object.__setattr__(self, "header", tuple(self.header[i] for i in kept))
        object.__setattr__(self, "rows", tuple(tuple(row[i] for i in kept) for row in self.rows))

    def text(self) -> str:
        """For a terminal: the first column to the left, the others to the right."""
        widths = [max(len(row[i]) for row in (self.header, *self.rows)) for i in range(len(self.header))]
        lines = [self.title]
        for row in (self.header, *self.rows):
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  " + "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        lines = [f"**{self.title}**", "", _line(self.header), "|---|" + "---:|" * (len(self.header) - 1)]
        return "\n".join([*lines, *map(_line, self.rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def text(results: Results) -> str:
    """The whole run for a terminal."""
    parts = [_heading(results), *(table.text() for table in tables(results))]
    if results.missing:
        parts.append("\n".join(["Missing", *(f"  {name}: {reason}" for name, reason in results.missing.items())]))
    return "\n\n".join(parts) + "\n"


def markdown(results: Results, chart: str) -> str:
    """The whole run for a document; `chart` is the path of the picture seen from there."""
    parts = [_heading(results), f"![CPU per request and per chunk]({chart})"]
    parts += [table.markdown() for table in tables(results)]
    if results.missing:
        parts.append("\n".join(["**Missing**", "", *(f"- {name}: {why}" for name, why in results.missing.items())]))
    return "\n\n".join(parts)


def quoted(document: str, block: str) -> str:
    """`document` with `block` between the marks.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def _heading(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Measured {results.date} ({results.mode}) on {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, "
        f"Python {machine['python']}, load average before {machine['load']}: {versions}."
    )


def tables(results: Results) -> Iterator[Table]:
    """What was measured, one table a case, then the goals."""
    compared = (
        ("unary-64", "Small requests (216 bytes, answers of 500), 64 connections", "requests/s"),
        ("unary-64-new", "The same, with a trace id of its own in each request's head", "requests/s"),
        ("unary-64-clients-500", "The same, from 500 clients in turn, each with a head of its own", "requests/s"),
        ("unary-64-clients-5000", "The same, from 5,000 clients in turn", "requests/s"),
        ("unary-1", "Small requests, 1 connection", "requests/s"),
        ("large", "Requests of 1 MB, 8 connections", "requests/s"),
        ("stream", "Streams of 100 chunks, one every 5 ms, 64 at a time: per relayed chunk", "chunks/s"),
        ("tls-64", "Small requests to an upstream with TLS, 64 connections", "requests/s"),
        ("tls-stream", "Streams from an upstream with TLS, 64 at a time: per relayed chunk", "chunks/s"),
        ("translated", "Translated to Anthropic's API: small requests, 8 connections", "requests/s"),
        ("translated-stream", "Translated streams, 64 at a time: per chunk", "chunks/s"),
    )
    for case, title, rate in compared:
        if names := results.gateways(case):
            yield Table(title, _compared_header(case, rate), tuple(_compared(results, case, name) for name in names))
    if names := results.gateways("process"):
        columns = ("gateway", "ready after, s", "CPU until then, s", "RSS then, MB", "RSS after load, MB")
        figures = ("start_wall_s", "start_cpu_s", "rss_mb", "rss_loaded_mb")
        yield Table("Process", columns, tuple(_row(results, "process", name, figures) for name in names))
    reloads = [case for case in results.samples if case.startswith("reload-")]
    if reloads:
        header = ("models", "one changed, s", "all changed, s", "longest stall, ms", "without reload, ms", "RSS, MB")
        yield Table("Reload of gatewayd's file", header, tuple(_reload(results, case) for case in reloads))
    yield Table(
        "Goals", ("goal", "limit", "measured", "verdict"), tuple(_goal(found) for found in goals.check(results))
    )


def _compared_header(case: str, rate: str) -> tuple[str, ...]:
    latency = ("added p50, ms", "added p99, ms") if case.startswith(_ADDED) else ("p50, ms", "p99, ms")
    if "stream" in case:
        latency = ("delay p50, ms", "delay p99, ms")
    return ("gateway", "CPU µs: median (range)", "× nginx", "LiteLLM ÷", rate, *latency)


def _compared(results: Results, case: str, name: str) -> tuple[str, ...]:
    cpu = results.spread(case, name, "cpu_us")
    nginx = results.median(case, Nginx.name, "cpu_us")
    litellm = results.median(case, LiteLLM.name, "cpu_us")
    added = "added_p50_ms" if case.startswith(_ADDED) and "stream" not in case else "p50_ms"
    return (
        name,
        _spread(cpu),
        _number(cpu.median / nginx) if cpu and nginx else "",
        _number(litellm / cpu.median) if cpu and cpu.median and litellm else "",
        _median(results, case, name, "rate"),
        _median(results, case, name, added),
        _median(results, case, name, added.replace("p50", "p99")),
    )


def _row(results: Results, case: str, name: str, figures: Sequence[str]) -> tuple[str, ...]:
    return (name, *(_median(results, case, name, figure) for figure in figures))


def _reload(results: Results, case: str) -> tuple[str, ...]:
    def worst(figure: str) -> str:
        spread = results.spread(case, Gatewayd.name, figure)
        return _number(spread.high) if spread else ""

    seconds = [_median(results, case, Gatewayd.name, figure) for figure in ("one_s", "every_s")]
    rss = _median(results, case, Gatewayd.name, "rss_mb")
    return (f"{int(case.partition('-')[2]):,}", *seconds, worst("stall_ms"), worst("quiet_ms"), rss)


def _goal(found: goals.Verdict) -> tuple[str, ...]:
    number: Callable[[float], str] = _share if found.goal.limit < 0.2 else _number
    measured = "" if found.value is None else number(found.value)
    return (found.goal.text, f"≤ {number(found.goal.limit)}", measured, found.word)


def _median(results: Results, case: str, name: str, figure: str) -> str:
    value = results.median(case, name, figure)
    return "" if value is None else _number(value)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_number(spread.median)} ({_number(spread.low)} - {_number(spread.high)})"


def _share(value: float) -> str:
    return f"1/{_number(1 / value)}" if value else "0"


def _number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0").rstrip(".")
