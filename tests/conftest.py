"""What every test may use: the folder of real material, where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pages, prose, test sets and hostile inputs, or a skip that says where to put it."""
    root = Path(os.environ.get("WEBTEXT_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"real test material is absent: no folder {root} (set WEBTEXT_SHARED)")
    return root
