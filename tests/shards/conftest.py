"""A corpus with tokens and a snapshot, made once for the tests that only read it."""

from __future__ import annotations

import pytest

from tests.support.document_corpus import commit_batch, documents, make_shards


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of a corpus with batches b1 and b2, a snapshot of each. Not to be changed."""
    root = str(tmp_path_factory.mktemp("built") / "corpus")
    for number, batch in enumerate(("b1", "b2")):
        commit_batch(root, batch, documents(150, seed=number))
        make_shards(root, batch)
    return root
