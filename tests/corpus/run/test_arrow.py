"""Commands do not import pandas, and conversions to it still work."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from corpus.run.arrow import leave_pandas_out
{call}
import pyarrow as pa
table = pa.table({{"a": [1, 2]}})
assert ("pandas" in sys.modules) is {imported}
assert table.to_pandas().shape == (2, 1)
"""


@pytest.mark.parametrize(("call", "imported"), [("leave_pandas_out()", False), ("", True)])
def test_arrow_imports_pandas_only_if_asked(call: str, imported: bool) -> None:
    pytest.importorskip("pandas")
    script = SCRIPT.format(call=call, imported=imported)
    subprocess.run([sys.executable, "-c", script], check=True)
