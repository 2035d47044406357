"""E-17, H-02 with small numbers; the full ones: `python -m tests.reload.storm`."""

from __future__ import annotations

from pathlib import Path

from tests.reload.storm import MEGABYTE, Plan, run


async def test_nothing_is_lost_and_nothing_is_left(tmp_path: Path) -> None:
    """E-17, E-18, H-02, R3: streams, short requests and new connections over good and bad edits."""
    report = await run(Plan(streams=60, stream_edits=8, requests=1_000, edits=8), tmp_path)
    assert (report.streams, report.losses) == (60, {})
    assert report.requests >= 1_000
    # Four edits that all differ, and one before, between and behind each.
    assert report.outcomes == {"applied": 4 + 4 + 3, "rejected": 8}
    assert report.rss_growth < 20 * MEGABYTE
