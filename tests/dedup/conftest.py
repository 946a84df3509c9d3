"""A corpus of made pages for every test that asks for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.dedup.made import MadeCorpus

settings.register_profile("dedup", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("dedup")


@pytest.fixture
def made_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MadeCorpus]:
    """Makes empty corpora."""
    return lambda: MadeCorpus(tmp_path_factory.mktemp("corpus"))
