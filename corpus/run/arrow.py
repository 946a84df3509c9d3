"""Starts Arrow without pandas in the processes of a command."""

from __future__ import annotations

import sys


def leave_pandas_out() -> None:
    """Keep Arrow from importing pandas, if it is installed and not imported yet.

    Arrow imports it before the first array of Python values, to recognise a `Series`. That is
    .3 s of each process, and no stage uses one. Conversions that are asked for, such as
    `to_pandas`, import it nevertheless.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    # Arrow remembers the answer of its first try.
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)


class _WithoutPandas:
    """A finder for an environment without pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
