"""One Chromium for all browser tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.counting_server import BROWSER


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running browser. The fixture ends with the file, since its event loop blocks others."""
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()
