"""Documents that are nearly right, for property tests: one place of a good one holds something else."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

anything: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], {}, [None], ["x"], [5], [[]], [{}], {"type": "text"}]),
    st.sampled_from([{"type": 5}, {"a": {}}, [{"type": "x"}], {"type": "function"}, {"text": None}, {"id": 5}]),
)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


@st.composite
def nearly(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """One of `documents`, with up to two of its values replaced."""
    document = deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(document))
        if places:
            parent, key = draw(st.sampled_from(places))
            parent[key] = deepcopy(draw(anything))
    return document
