"""A corpus with tokens and a snapshot, made once for the tests that only read it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("corpora", Path(__file__).with_name("corpora.py"))
assert _spec is not None
assert _spec.loader is not None
corpora = importlib.util.module_from_spec(_spec)
sys.modules["corpora"] = corpora
_spec.loader.exec_module(corpora)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of a corpus with batches b1 and b2, a snapshot of each. Not to be changed."""
    root = str(tmp_path_factory.mktemp("built") / "corpus")
    for number, batch in enumerate(("b1", "b2")):
        corpora.commit_batch(root, batch, corpora.documents(150, seed=number))
        corpora.make_shards(root, batch)
    return root
