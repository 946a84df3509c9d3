"""One thread for all, and a corpus small enough to train on in a second, made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.document_corpus import commit_batch, documents, make_shards
from tests.train.fakes import TOKENIZER
from train.machine import distributed


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Doors too: two test processes share two cores, and threads of small models would wait for one another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "num_threads", lambda config, ranks: config.num_threads or 1)
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents in batch and snapshot `b`, in the tokens of a vocabulary of 300; do not write to it."""
    root = tmp_path_factory.mktemp("corpus") / "c"
    commit_batch(str(root), "b", documents(40))
    make_shards(str(root), "b", *TOKENIZER)
    return root


@pytest.fixture
def corpus_copy(corpus: Path, tmp_path: Path) -> Path:
    """The same, to be written to."""
    return shutil.copytree(corpus, tmp_path / "c")
