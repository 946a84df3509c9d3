"""A stream takes its own states and refuses everything else with an InputError, unchanged by it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from shards.reader import BlockStream, PackedStream, Source, open_mixture, open_split, weigh
from tests.shards.state_values import VALUES


@pytest.fixture(scope="module")
def streams(built: str) -> dict[str, Any]:
    """One stream of every class and way to read."""
    split = open_split(built, "b2", "train")
    sources = [Source(weight=3, batches=["b1"]), Source(weight=1)]

    def mixture(packing: Any, window: int = 0) -> Any:
        return open_mixture(
            built, "b2", "train", sources, block_size=64, seed=2, packing=packing, window=window
        )

    return {
        "blocks": BlockStream(split, block_size=64, seed=3),
        "windows": BlockStream(split, block_size=64, seed=3, window=9),
        "documents": PackedStream(split, block_size=64, seed=3),
        "windows of documents": PackedStream(split, block_size=64, seed=3, window=9),
        "weighted": BlockStream(weigh(split, "score"), block_size=64, seed=3),
        "weighted documents": PackedStream(weigh(split, "score"), block_size=64, seed=3),
        "mixture": mixture("stream"),
        "mixture of documents": mixture("documents"),
        "windows of a mixture": mixture("stream", 9),
    }


@settings(max_examples=40, deadline=None)
@given(VALUES, st.text(max_size=5))
def test_anything_but_a_state_is_refused_and_changes_nothing(
    streams: dict[str, Any], value: Any, more: str
) -> None:
    for stream in streams.values():
        before = stream.state_dict()
        for key in before:
            check(stream, {**before, key: value})
            check(stream, {name: found for name, found in before.items() if name != key})
        check(stream, {**before, more: value})
        check(stream, value)


def check(stream: Any, changed: Any) -> None:
    """Load it: it is refused, or names the same tokens and can be read from."""
    before = stream.state_dict()
    try:
        stream.load_state_dict(changed)
    except InputError:
        assert stream.state_dict() == before
        return

    assert changed.keys() - {"together"} == before.keys() - {"together"}
    same = before.keys() - {"seed", "epoch", "index", "together"}
    assert {name: changed[name] for name in same} == {name: before[name] for name in same}
    assert stream.next_batch(4).shape == (4, 65)
    stream.load_state_dict(before)


def test_states_of_all_kinds_are_told_apart(streams: dict[str, Any]) -> None:
    for name, stream in streams.items():
        for other, another in streams.items():
            if other != name:
                with pytest.raises(InputError, match="state"):
                    stream.load_state_dict(another.state_dict())
