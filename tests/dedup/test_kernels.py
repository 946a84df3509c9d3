"""Compiled code where no folder takes its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from dedup import kernels


def test_kernels_work_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def read_only(*function: Any, cache: bool = False, **options: Any) -> Callable[..., Any]:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*function, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(kernels.numba, "njit", read_only)
    add = kernels.compiled(lambda left, right: left + right)
    assert add(np.uint64(2), np.uint64(3)) == 5
