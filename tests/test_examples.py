"""Examples of property tests: the same in each run, whatever ran before in the process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[int]:
    found = []

    @settings(derandomize=True, max_examples=300, database=None)
    @given(st.integers())
    def keep(number: int) -> None:
        found.append(number)

    keep()
    return found


@pytest.mark.skipif(
    settings.get_current_profile_name() != "suite", reason="examples that differ are asked for"
)
def test_a_module_loaded_by_another_test_changes_no_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis draws from the constants of all loaded modules: a failure came and went by the order of the tests."""
    before = drawn()
    path = tmp_path / "constants.py"
    path.write_text(f"NUMBERS = {list(range(7_000_000, 7_000_500))}\n")
    spec = importlib.util.spec_from_file_location("constants", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "constants", module)
    spec.loader.exec_module(module)
    assert drawn() == before
