"""The interface of a stream's source: one sequence of tokens, in a split or chosen from one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from corpus.snapshots.snapshot import Split
from shards.stream.tokens import Document


class Tokens(Protocol):
    """A sequence of tokens to make blocks of: a `TokenSplit`, or a `Selection` of its documents."""

    name: Split
    digest: str
    num_tokens: int
    run_tokens: int
    ahead: int

    @property
    def misses(self) -> int: ...

    def slice(self, start: int, stop: int) -> np.ndarray: ...

    def read_blocks(
        self, starts: np.ndarray, length: int, out: np.ndarray | None = None
    ) -> np.ndarray: ...

    def prefetch(self, starts: np.ndarray, length: int) -> None: ...

    def documents(self, start: int, stop: int) -> list[Document]: ...
