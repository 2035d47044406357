"""The channel from the config child: everything a result may hold arrives, and nothing else is let in."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.channel import HEADER, MAX_FRAME_BYTES, Assembler, ChannelError, body_length, dump
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Alias, Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.errors import FallbackKind
from gatewayd.secret import Secret


def deployment(index: int) -> Deployment:
    return Deployment(
        id=f"d{index}",
        identity=f"{index:064x}",
        group=f"m{index}",
        kind="forward",
        provider="openai",
        model=f"x{index}",
        api_key=Secret(f"sk-{index}"),
        params=MappingProxyType({"temperature": 0.5, "stop": ["a", ("b",)]}),
        extra_headers=MappingProxyType({"x-team": Secret("t")}),
        info=MappingProxyType({"since": date(2026, 11, 23)}),
    )


def snapshot(count: int, **changes: Any) -> Snapshot:
    entries = [{"model_name": f"m{index}", "litellm_params": {"rpm": index}} for index in range(count)]
    return Snapshot(
        revision="0123456789ab",
        deployments=tuple(deployment(index) for index in range(count)),
        routing=RoutingSettings(
            fallbacks=MappingProxyType({FallbackKind.GENERAL: MappingProxyType({"a": ("b", "c")})}),
            aliases=MappingProxyType({f"a{index}": Alias("b", hidden=index % 2 == 0) for index in range(count)}),
        ),
        server=ServerSettings(listen=(Address("::1", 4000), Address(path="/run/x")), master_key=Secret("sk-master")),
        environment=MappingProxyType({"A": "b"}),
        files=("/etc/gatewayd.yaml",),
        effective=MappingProxyType({"model_list": entries}),
        **changes,
    )


def bodies(result: Result) -> list[bytes]:
    frames = list(dump(result))
    for frame in frames:
        assert body_length(frame[: HEADER.size]) == len(frame) - HEADER.size
    return [frame[HEADER.size :] for frame in frames]


def assemble(frames: Iterable[bytes]) -> Result:
    assembler = Assembler()
    *parts, last = frames
    for part in parts:
        assert assembler.feed(part) is None
    result = assembler.feed(last)
    assert result is not None
    return result


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000])
def test_a_result_arrives_as_it_was(count: int) -> None:
    result = Result(snapshot(count), tuple(Problem("yaml_key", f"p{index}") for index in range(count)))
    arrived = assemble(bodies(result))
    assert arrived == result
    assert arrived.snapshot is not None
    assert type(arrived.snapshot.deployments) is tuple
    assert type(arrived.snapshot.routing.aliases) is MappingProxyType
    if count:
        assert arrived.snapshot.deployments[-1].api_key == Secret(f"sk-{count - 1}")


def test_problems_alone() -> None:
    result = Result(None, (Problem("yaml_syntax", "m", "p", "f", 1, 2, "h", "warning"),))
    assert assemble(bodies(result)) == result


def test_large_results_come_in_small_frames() -> None:
    """E-30: the receiver unpickles one frame at a time and lets the loop run in between."""
    frames = bodies(Result(snapshot(2000)))
    assert len(frames) > 80
    assert max(map(len, frames)) < 64 * 1024


def test_containers_that_are_shared_stay_shared() -> None:
    shared = MappingProxyType({str(index): index for index in range(100)})
    result = Result(
        snapshot(
            0,
        ).__class__("r", (), effective=MappingProxyType({"a": shared, "b": shared}))
    )
    arrived = assemble(bodies(result)).snapshot
    assert arrived is not None
    assert arrived.effective["a"] is arrived.effective["b"]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
    | st.builds(Secret, st.text(max_size=5)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, min_size=65, max_size=70)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=3), plain, max_size=3))
def test_any_plain_tree_arrives(tree: dict[str, Any]) -> None:
    result = Result(Snapshot("r", (), effective=MappingProxyType(tree)))
    assert assemble(bodies(result)) == result


def test_what_is_no_plain_data_is_refused_when_sending() -> None:
    for thing in (lambda: None, threading.Lock()):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            list(dump(Result(Snapshot("r", (), effective=MappingProxyType({"a": thing})))))


def test_ordinary_pickling_of_a_secret_is_still_refused() -> None:
    """D-02."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps(("result", Evil())),
        pickle.dumps(("result", datetime(2026, 1, 1))),
        pickle.dumps(("part", "x", [])),
        pickle.dumps(("part", 0, {})),
        pickle.dumps(print),
        pickle.dumps(7),
        b"cos\nsystem\n(S'true'\ntR.",
        b"cgatewayd.config.channel\npickle\n.",
        b"",
        b"garbage",
        b"\x80\x05(K\x00K\x01tQ.",  # refers to a container that never came
    ],
)
def test_other_things_are_refused_when_receiving(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChannelError) as caught:
        Assembler().feed(body)
    assert "executed" not in str(caught.value)
    assert capsys.readouterr().out == ""


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(ChannelError):
        Assembler().feed(body)


@pytest.mark.parametrize("header", [b"GET / HT", HEADER.pack(b"gwd\x01", MAX_FRAME_BYTES + 1), b"\0" * HEADER.size])
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(ChannelError):
        body_length(header)
