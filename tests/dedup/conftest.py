"""A corpus of made pages for every test that asks for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.dedup.made import MadeCorpus


@pytest.fixture
def made_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MadeCorpus]:
    """Makes empty corpora."""
    return lambda: MadeCorpus(tmp_path_factory.mktemp("corpus"))
