"""Hash tables with open addressing: keys of 64 bits, 0 for an empty slot."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner

# Spreads small numbers over all bits of a key.
SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_LEAST_SLOTS: Final = 16


@inner
def empty_keys(most: Any) -> Any:
    """A table for `most` keys, at most half of it full. Its size is a power of two."""
    slots = _LEAST_SLOTS
    while slots < 2 * most:
        slots *= 2
    return np.zeros(slots, np.uint64)


@inner
def slot_of_key(keys: Any, key: Any) -> Any:
    """The slot of a key other than 0. Puts the key there if it is new."""
    last = np.uint64(keys.size - 1)
    slot = (key ^ (key >> np.uint64(29))) & last
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & last
    keys[slot] = key
    return np.int64(slot)
