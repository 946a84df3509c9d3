"""A corpus with a page of every fate, grown once for the tests that only read it, and copies for those that don't."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import grown
import pytest


@pytest.fixture(scope="session")
def fates(tmp_path_factory: pytest.TempPathFactory) -> grown.Fates:
    """Two batches, a page of every fate. Not to be changed."""
    return grown.grow_fates(tmp_path_factory.mktemp("fates"))


@pytest.fixture
def fates_copy(fates: grown.Fates, tmp_path: Path) -> grown.Fates:
    """The same, to be changed."""
    shutil.copytree(fates.root, tmp_path / "corpus")
    return dataclasses.replace(fates, root=str(tmp_path / "corpus"))
