"""What the tests of doors share: pages worked on in this process, where the sandbox is not what is tested."""

from __future__ import annotations

from functools import cache

import pytest

from clean import pages
from clean.config import CleanConfig
from clean.document import DocumentFunction, Page, Result, document_function


@cache
def _document(config_json: str) -> DocumentFunction:
    return document_function(CleanConfig.model_validate_json(config_json))


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for the pages of this test."""

    def process(page: Page, config_json: str) -> Result:
        return _document(config_json)(page)

    monkeypatch.setattr(pages, "_sandbox", lambda config_json: config_json)
    monkeypatch.setattr(pages, "process", process)
