from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.changes import changes, steps
from gatewayd.config.snapshot import (
    Address,
    Alias,
    Deployment,
    FetchSettings,
    LogSettings,
    RoutingSettings,
    ServerSettings,
    ServerTimeouts,
    Snapshot,
)
from gatewayd.errors import FallbackKind
from gatewayd.secret import Secret

KEY = Secret("sk-canary-5f2d")


def deployment(id: str, group: str = "chat", model: str = "gpt-4o", **fields: Any) -> Deployment:
    values: dict[str, Any] = {"provider": "openai", "kind": "forward", "api_key": KEY} | fields
    values.setdefault("identity", f"{id}/{group}/{model}/{sorted(map(str, fields.items()))}")
    return Deployment(id=id, group=group, model=model, **values)


def snapshot(*deployments: Deployment, **fields: Any) -> Snapshot:
    return Snapshot("r", deployments, **fields)


BASE = snapshot(deployment("a"), deployment("b", api_base="https://user:pw@host.example:8443/v1?key=canary"))


def test_equal_snapshots_do_not_differ() -> None:
    assert changes(BASE, replace(BASE, revision="other", files=("/x",))) == ()


def test_groups_come_and_go() -> None:
    new = snapshot(deployment("c", "embed", "small"), deployment("d", "embed", "large"))
    assert changes(BASE, new) == (
        "+ group embed (2 deployments: openai/small, openai/large)",
        "- group chat (2 deployments: openai/gpt-4o, openai/gpt-4o at host.example:8443)",
    )


def test_deployments_of_a_group() -> None:
    grown = snapshot(*BASE.deployments, deployment("c", model="gpt-5"))
    assert changes(BASE, grown) == ("+ deployment chat: openai/gpt-5",)
    assert changes(grown, BASE) == ("- deployment chat: openai/gpt-5",)


def test_a_changed_deployment_is_named_by_its_fields_only() -> None:
    new = snapshot(replace(BASE.deployments[0], api_key=Secret("sk-new"), rpm=5, identity="z"), BASE.deployments[1])
    assert changes(BASE, new) == ("~ deployment chat: openai/gpt-4o: api_key, rpm",)


def test_fields_have_the_names_they_have_in_the_file() -> None:
    """U-D11: `mock_response` and the parameters' own names, not `mock` and `params`."""
    old = snapshot(deployment("a", mock={"text": "x"}, params={"temperature": 1, "stop": ["a"], "top_p": 1}))
    new = snapshot(
        deployment("a", mock={"text": "y"}, params={"temperature": 2, "stop": ["b"], "top_p": 1}, info={"mode": "chat"})
    )
    assert changes(old, new) == ("~ deployment chat: openai/gpt-4o: temperature, stop, mock_response, model_info",)


def test_an_edit_that_changes_the_derived_id_is_still_a_change() -> None:
    old, new = snapshot(deployment("a")), snapshot(deployment("x", timeout=5.0))
    assert changes(old, new) == ("~ deployment chat: openai/gpt-4o: timeout",)


def test_a_change_inside_translated_parameters_shows_no_value() -> None:
    old = snapshot(deployment("a", kind="translate", litellm_params={"aws_secret_access_key": KEY}))
    new = snapshot(
        deployment("a", kind="translate", litellm_params={"aws_secret_access_key": Secret("canary")}, identity="z")
    )
    assert changes(old, new) == ("~ deployment chat: openai/gpt-4o: parameters",)


def test_routing() -> None:
    old = RoutingSettings(
        fallbacks={FallbackKind.GENERAL: {"a": ("b",), "c": ("d",)}}, aliases={"x": Alias("a"), "y": Alias("b")}
    )
    new = RoutingSettings(
        num_retries=3, fallbacks={FallbackKind.GENERAL: {"a": ("b", "c")}}, aliases={"x": Alias("b"), "z": Alias("b")}
    )
    assert changes(snapshot(routing=old), snapshot(routing=new)) == (
        "~ num_retries: 2 → 3",
        "~ fallbacks a: b → b, c",
        "- fallbacks c: d → none",
        "~ alias x",
        "- alias y",
        "+ alias z",
    )


def test_server_and_environment() -> None:
    old = ServerSettings(admin=None, default_models={"embeddings": "e"})
    new = ServerSettings(
        listen=(Address("::1", 1), Address(path="/run/x")),
        master_key=KEY,
        timeouts=ServerTimeouts(connect=1.0),
        log=LogSettings(level="debug"),
        default_models={"embeddings": "f"},
    )
    lines = changes(
        snapshot(server=old, environment={"A": "1"}), snapshot(server=new, environment={"A": "2", "B": "3"})
    )
    assert lines == (
        "~ listen: 127.0.0.1:4000 → [::1]:1, unix:/run/x",
        "~ admin: none → 127.0.0.1:4001",
        "+ master_key",
        "~ timeouts.connect: 10.0 → 1.0",
        "~ log.level: info → debug",
        "~ default model for embeddings: e → f",
        "~ environment A",
        "+ environment B",
    )


def test_a_setting_of_any_subsection_is_shown_by_its_key() -> None:
    old = ServerSettings()
    new = ServerSettings(fetch=FetchSettings(http=True), ignore_unsupported=("guardrails",))
    assert changes(snapshot(server=old), snapshot(server=new)) == (
        "~ fetch.http: False → True",
        "~ ignore_unsupported: none → guardrails",
    )


DEPLOYMENTS = st.lists(
    st.builds(
        deployment,
        id=st.sampled_from("abcdef"),
        group=st.sampled_from(["g", "h"]),
        model=st.sampled_from(["m", "n"]),
        rpm=st.sampled_from([None, 1, 2]),
        api_key=st.sampled_from([KEY, None]),
        extra_headers=st.sampled_from([{}, {"x": KEY}]),
    ),
    max_size=5,
    unique_by=lambda d: d.id,
)


@given(DEPLOYMENTS, DEPLOYMENTS, st.sampled_from([None, KEY]))
@settings(max_examples=100)
def test_any_two_snapshots(old: list[Deployment], new: list[Deployment], key: Secret | None) -> None:
    """Differences are told exactly when there are some, none is told of a secret, and the way back is as long."""
    one, other = snapshot(*old), snapshot(*new, server=ServerSettings(master_key=key))
    lines = changes(one, other)
    assert bool(lines) == (set(map(repr, old)) != set(map(repr, new)) or key is not None)
    assert len(changes(other, one)) == len(lines)
    assert KEY.reveal() not in "".join(lines)


def test_a_large_group_is_compared_in_small_steps() -> None:
    """E-30: no step looks at more than a few deployments, whatever the edit changed."""

    class Counted(str):
        compared = 0

        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    old = snapshot(*(deployment(f"old-{n}", model=Counted(f"m{n}")) for n in range(1000)))
    new = snapshot(*(deployment(f"new-{n}", model=Counted(f"m{n}"), rpm=1) for n in range(1000)))
    lines = []
    for line in steps(old, new):
        assert Counted.compared < 3000, "the pairs are searched for one by one"
        Counted.compared = 0
        lines.append(line)
    assert lines.count(None) >= 1000
    assert [line for line in lines if line][-1] == "~ deployment chat: openai/m999: rpm"


def test_removing_the_first_of_a_group_is_one_line() -> None:
    """U-D4: derived ids follow the order of a group, so they do not show which deployment is which."""
    first, second, third = (
        deployment(id, api_base=f"http://{host}.example/v1", identity=host)
        for id, host in (("gpt", "a"), ("gpt-2", "b"), ("gpt-3", "c"))
    )
    after = snapshot(replace(second, id="gpt"), replace(third, id="gpt-2"))
    assert changes(snapshot(first, second, third), after) == ("- deployment chat: openai/gpt-4o at a.example",)
