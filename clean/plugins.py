"""Filters and extractors of other packages, run in the sandbox like our own.

A filter gets a `PageText` and returns None to keep the document, or a reason in words to drop it
(`plugin`). An extractor gets (HTML, address) and returns the main text, empty for none. Whatever a
plugin raises or returns besides drops its page as `extract_crashed` and names the plugin, so that a
wrong plugin costs its own verdicts and no row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from corpus.config import Section
from corpus.plugins import EXTRACTORS, FILTERS, find, plugin_inputs
from corpus.tables.manifest import Input

# Characters kept of a plugin's words.
MAX_DETAIL = 200


class PageText(NamedTuple):
    """A document as filters of other packages see it: after our own language and quality rules."""

    text: str
    """In normal form."""
    url: str
    """Where the page was found in the end."""
    title: str | None
    language: str
    """ISO 639 code."""


class PluginsConfig(Section):
    """Functions of other installed packages."""

    filters: list[str] = []
    """Filters (entry points `webtext.filters`), asked in this order after `clean.quality`."""
    extractor: str = ""
    """An extractor (entry point `webtext.extractors`) instead of `clean.extract.extractor`."""


Filter = Callable[[PageText], str | None]
Extractor = Callable[[str, str], str]


def load_filters(config: PluginsConfig) -> list[Filter]:
    """The filters, imported. Raises: InputError."""
    return [_checked_filter(name) for name in config.filters]


def load_extractor(config: PluginsConfig) -> Extractor | None:
    """The extractor, imported; None if none is named. Raises: InputError."""
    if not config.extractor:
        return None
    plugin = find(EXTRACTORS, config.extractor, "clean.plugins.extractor")
    function = plugin.load()

    def extract(html: str, url: str) -> str:
        return _called(plugin.name, function, (html, url), str)

    return extract


def inputs(config: PluginsConfig) -> list[Input]:
    """The plugins as inputs of `documents`. Raises: InputError for one that is not installed."""
    extractors = [config.extractor] if config.extractor else []
    return [
        *plugin_inputs(FILTERS, config.filters, "clean.plugins.filters"),
        *plugin_inputs(EXTRACTORS, extractors, "clean.plugins.extractor"),
    ]


def _checked_filter(name: str) -> Filter:
    plugin = find(FILTERS, name, "clean.plugins.filters")
    function = plugin.load()

    def judge(page: PageText) -> str | None:
        found = _called(name, function, (page,), str | None)
        return None if found is None else f"{name}: {found}"[:MAX_DETAIL]

    return judge


def _called(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], kind: Any) -> Any:
    try:
        found = function(*arguments)
    except MemoryError:
        raise
    except Exception as error:
        raise RuntimeError(f"plugin {name}: {type(error).__name__}: {error}") from error
    if not isinstance(found, kind):
        raise TypeError(f"plugin {name}: returned a {type(found).__name__}, expected {kind}")
    return found
