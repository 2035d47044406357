"""A run as a picture: horizontal bars on a logarithmic scale, as SVG written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.measure import Spread
from benchmarks.peers import Gatewayd
from benchmarks.results import Results

_WIDTH = 860
_LEFT = 170
_RIGHT = 130
_BAR = 20
_GAP = 9
_TOP = 64
_PANEL_TITLE = 34
_AXIS = 26
_OURS, _OTHERS, _INK, _FAINT = "#0b7a75", "#9aa5b1", "#1f2933", "#e4e7eb"

_PANELS = (
    ("unary-64", "CPU per request: 216 bytes, 64 connections"),
    ("stream", "CPU per relayed chunk: 64 streams"),
    ("translated", "CPU per request, translated to Anthropic's API"),
)


def svg(results: Results) -> str:
    """The CPU figures of a run; cases that were not measured are left out."""
    panels = []
    for case, title in _PANELS:
        found = [(name, results.spread(case, name, "cpu_us")) for name in results.gateways(case)]
        bars = sorted(((name, spread) for name, spread in found if spread), key=lambda bar: bar[1].median)
        if bars:
            panels.append((title, bars))
    spreads = [spread for _, bars in panels for _, spread in bars]
    low = math.floor(math.log10(max(min((spread.low for spread in spreads), default=1.0), 0.1)))
    high = max(math.ceil(math.log10(max((spread.high for spread in spreads), default=10.0))), low + 1)
    parts: list[str] = []
    y = _TOP
    for title, bars in panels:
        parts.append(_panel(y, title, bars, low, high))
        y += _height(len(bars))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}">\n'
        f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>\n'
        f'<text x="20" y="28" font-size="17" font-weight="600">What a gateway costs, side by side</text>\n'
        f'<text x="20" y="48" fill="#616e7c">Microseconds of CPU, logarithmic scale, shorter is better; '
        f"line: range of the rounds. {escape(results.date)}</text>\n"
    )
    return head + "".join(parts) + "</svg>\n"


def _height(bars: int) -> int:
    return _PANEL_TITLE + bars * (_BAR + _GAP) + _AXIS


def _panel(top: int, title: str, bars: Sequence[tuple[str, Spread]], low: int, high: int) -> str:
    """`low` and `high`: the powers of ten at which the axis begins and ends, the same in every panel."""
    room = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        return _LEFT + room * (math.log10(max(value, 10**low)) - low) / (high - low)

    first = top + _PANEL_TITLE
    bottom = first + len(bars) * (_BAR + _GAP)
    parts = [f'<text x="20" y="{top + 20}" font-size="14" font-weight="600">{escape(title)}</text>\n']
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(
            f'<line x1="{at:.1f}" y1="{first - 4}" x2="{at:.1f}" y2="{bottom}" stroke="{_FAINT}"/>\n'
            f'<text x="{at:.1f}" y="{bottom + 12}" text-anchor="middle" font-size="11" fill="#616e7c">'
            f"{10.0**power:,g} µs</text>\n"
        )
    for number, (name, spread) in enumerate(bars):
        parts.append(
            _bar(first + number * (_BAR + _GAP), name, spread, x(spread.low), x(spread.median), x(spread.high))
        )
    return "".join(parts)


def _bar(y: int, name: str, spread: Spread, low: float, median: float, high: float) -> str:
    ours = name == Gatewayd.name
    middle = y + _BAR / 2
    weight = ' font-weight="600"' if ours else ""
    value = f"{spread.median:,.0f}" if spread.median >= 20 else f"{spread.median:.1f}"
    return (
        f'<text x="{_LEFT - 10}" y="{middle + 4.5}" text-anchor="end"{weight}>{escape(name)}</text>\n'
        f'<rect x="{_LEFT}" y="{y}" width="{max(median - _LEFT, 1):.1f}" height="{_BAR}" rx="2" '
        f'fill="{_OURS if ours else _OTHERS}"/>\n'
        f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="{_INK}" stroke-width="1.5"/>\n'
        f'<text x="{high + 8:.1f}" y="{middle + 4.5}"{weight}>{value} µs</text>\n'
    )
