"""Values that a saved state never has, for properties of what loads one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

# Beside the edges of 64-bit numbers, values that compare or convert in ways of their own.
EDGES: tuple[Any, ...] = (
    *(None, True, 1.0, float("nan"), -1, 2**62 - 1, 2**62, 2**63, 2**64, 10**30, -(10**30)),
    *("", "x", b"x", [], [0], {}, {"index": 0}, np.int64(3), np.arange(2), np.float32(1)),
)
_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(EDGES),
    _PLAIN,
    st.lists(_PLAIN, max_size=3),
    st.dictionaries(st.text(max_size=5) | st.integers(), _PLAIN, max_size=3),
)
