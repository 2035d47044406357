"""Ids that carry their deployment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire.response_ids import IdSealer

SEALER = IdSealer(b"secret")


@given(
    st.text(min_size=1, max_size=60).filter(lambda text: "\n" not in text), st.text(max_size=30), st.text(max_size=10)
)
def test_what_is_sealed_is_unsealed(upstream_id: str, deployment: str, owner: str) -> None:
    deployment = deployment.replace("\n", "")
    text = SEALER.seal(upstream_id, deployment, owner)
    assert text.isascii()
    assert SEALER.unseal(text, owner) == (upstream_id, deployment)
    assert SEALER.unseal(text, owner + "x") is None
    assert IdSealer(b"another").unseal(text, owner) is None


def test_an_id_begins_as_the_upstreams_does() -> None:
    assert SEALER.seal("resp_68a", "d").startswith("resp_gwd")
    assert SEALER.seal("file-68a", "d").startswith("id_gwd")


@given(st.integers(0, 200), st.sampled_from("Aa0-_=+/ ."))
def test_a_changed_id_is_unknown(place: int, letter: str) -> None:
    text = SEALER.seal("resp_68a", "deployment")
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    assert changed == text or SEALER.unseal(changed) is None
    assert SEALER.unseal(text[:place] + letter + text[place:]) is None


@given(st.text(max_size=60) | st.text(max_size=60).map("resp_gwd{}".format))
def test_other_texts_are_unknown(text: str) -> None:
    assert SEALER.unseal(text) is None
    assert SEALER.unseal("resp_gwd" + "A" * 5000) is None
