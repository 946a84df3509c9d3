"""A corpus with a page of every fate, grown once for the tests that only read it, and copies for those that don't."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import faulty
import grown
import pytest

from corpus import conditional


@pytest.fixture(scope="session")
def fates(tmp_path_factory: pytest.TempPathFactory) -> grown.Fates:
    """Two batches, a page of every fate. Not to be changed."""
    return grown.grow_fates(tmp_path_factory.mktemp("fates"))


@pytest.fixture
def fates_copy(fates: grown.Fates, tmp_path: Path) -> grown.Fates:
    """The same, to be changed."""
    shutil.copytree(fates.root, tmp_path / "corpus")
    return dataclasses.replace(fates, root=str(tmp_path / "corpus"))


@pytest.fixture
def network(s3_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[faulty.Network]:
    """The store of `s3_bucket`, reached through a network that does as it is told."""
    with faulty.between(s3_endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        conditional.open_conditional.cache_clear()
        yield between
