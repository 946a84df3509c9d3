from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crawl.loopback import Shard, Web, serving


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web()) as running:
        yield running


@pytest.fixture
def shard(tmp_path: Path, web: Web) -> Shard:
    return Shard(tmp_path, web.port)
