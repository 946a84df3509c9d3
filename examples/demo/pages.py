"""The content of the demo's web: pages made of the documentation of installed packages.

Sources are the distributions' own descriptions, the language topics of `pydoc_data`, and docstrings
grouped by module until a page has enough text. Each source is an iterator in a fixed order, so a
small demo reads only a few files of each package. One set of installed packages always gives the
same pages.
"""

from __future__ import annotations

import html
import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from functools import cache, cached_property
from typing import cast

from examples.demo import markup
from examples.demo.docstrings import Item, items_of_package

# A page of docstrings ends once it has this many characters.
PAGE_CHARS = 4_000
MIN_PAGE_CHARS = 1_300
MAX_DESCRIPTION_CHARS = 20_000

# Package to the host of its documentation. A package that is not installed has no site.
PACKAGE_SITES = {
    "stdlib": "docs.pythonlibrary.test",
    "numpy": "docs.numpymanual.test",
    "scipy": "docs.scipyguide.test",
    "sympy": "docs.symbolicmath.test",
    "torch": "docs.torchbook.test",
    "ray": "docs.raycluster.test",
    "networkx": "www.graphnotes.test",
    "twisted": "docs.twistedmatrix.test",
    "mpmath": "precision.test",
    "scrapy": "docs.scrapers.test",
    "pyarrow": "arrowdocs.test",
    "numba": "jitpages.test",
    "pydantic": "validation.test",
    "werkzeug": "werkzeugkasten.test",
    "flask": "microframework.test",
    "jinja2": "templating.test",
    "click": "commandline.test",
    "rich": "terminalart.test",
    "babel": "localefiles.test",
    "datasketch": "sketches.test",
    "setuptools": "packagingnews.test",
    "pip": "installer.test",
    "docutils": "plaintextdocs.test",
    "pyparsing": "parsers.test",
    "pygments": "highlighters.test",
    "hypothesis": "propertytesting.test",
    "_pytest": "testrunner.test",
    "fsspec": "filesystems.test",
    "lxml": "xmltoolbox.test",
    "attr": "classbuilder.test",
    "urllib3": "httppool.test",
    "requests": "httpforhumans.test",
    "aiohttp": "asyncweb.test",
    "huggingface_hub": "modelhub.test",
    "google": "protocols.test",
    "grpc": "remotecalls.test",
    "opentelemetry": "telemetry.test",
    "botocore": "cloudclient.test",
    "packaging": "versions.test",
    "zope": "interfaces.test",
    "mypy": "typechecker.test",
    "regex": "regularly.test",
    "trafilatura": "webtextgathering.test",
    "dateparser": "calendars.test",
    "virtualenv": "environments.test",
    "distlib": "distributions.test",
    "filelock": "lockfiles.test",
    "itemloaders": "itemshop.test",
    "tldextract": "publicsuffix.test",
    "markdown_it": "markdownish.test",
    "tokenizers": "bytepairs.test",
    "jsonschema": "schemas.test",
    "llvmlite": "compilers.test",
    "yaml": "configfiles.test",
}

TOPICS_SITE = "languagetopics.test"
# First letter of a name to the host that describes distributions up to it.
DESCRIPTION_SITES = {
    "f": "opensourceshelf.test",
    "l": "readmedaily.test",
    "r": "librarywatch.test",
    "{": "toolbench.test",
}

_TITLE_CHARS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Page:
    """One page before its site is drawn around it."""

    host: str
    path: str
    title: str
    body: str
    """HTML of the main content, without the heading."""

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.host}{self.path}"

    @cached_property
    def text(self) -> str:
        """The main content with its markup taken off."""
        return markup.plain_text(self.body)


def pages() -> Iterator[Page]:
    """All pages, one of each site in turn, until every site is exhausted.

    No two have the same URL.
    """
    streams = [description_pages(site) for site in DESCRIPTION_SITES.values()]
    streams += [topic_pages(), *(package_pages(name, site) for name, site in PACKAGE_SITES.items())]
    seen: set[str] = set()

    while streams:
        alive = []
        for stream in streams:
            page = next(stream, None)
            if page is not None:
                alive.append(stream)
                yield _with_free_path(page, seen)
        streams = alive


def description_pages(site: str) -> Iterator[Page]:
    """One page per installed distribution of `site` with a description of some length."""
    for name, metadata in sorted(_metadata().items()):
        if description_site(name) != site:
            continue

        text = str(metadata.get_payload() or metadata.get("Description") or "")
        if len(text) < MIN_PAGE_CHARS:
            continue

        kind = (metadata.get("Description-Content-Type") or "text/x-rst").partition(";")[0].strip()
        render = markup.markdown_html if kind == "text/markdown" else markup.rest_html
        summary = html.escape(metadata.get("Summary") or "", quote=False)
        body = f"<p><strong>{summary}</strong></p>\n{render(_cut(text, MAX_DESCRIPTION_CHARS))}"
        yield Page(
            site,
            f"/projects/{_TITLE_CHARS.sub('-', name)}/",
            f"{metadata['Name']}: {metadata.get('Summary') or 'a Python package'}",
            body,
        )


@cache
def _metadata() -> dict[str, Message]:
    """The metadata of every installed distribution by its name in lower case."""
    found = (
        cast(Message, distribution.metadata) for distribution in importlib.metadata.distributions()
    )
    return {metadata["Name"].lower(): metadata for metadata in found if metadata["Name"]}


def description_site(name: str) -> str:
    """The host for the distribution `name` (lower case)."""
    return next(site for limit, site in DESCRIPTION_SITES.items() if name[:1] < limit)


def topic_pages() -> Iterator[Page]:
    """The topics of Python's interactive help: a chapter of the language reference each."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        if len(topics[name]) >= MIN_PAGE_CHARS:
            heading = topics[name].strip().partition("\n")[0]
            yield Page(
                TOPICS_SITE,
                f"/topic/{name}.html",
                f"{heading} ({name})",
                markup.docstring_html(topics[name]),
            )


def package_pages(package: str, site: str) -> Iterator[Page]:
    """Pages of docstrings of one package, in order of its files."""
    for items in items_of_package(package):
        for group in grouped(items):
            yield items_page(group, site)


def grouped(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Group the items of one file to at least `PAGE_CHARS`; a short rest joins the previous group.

    A file with less than `MIN_PAGE_CHARS` gives nothing.
    """
    groups: list[list[Item]] = []
    size = PAGE_CHARS
    for item in items:
        if size >= PAGE_CHARS:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += len(item.text)

    if len(groups) > 1 and size < MIN_PAGE_CHARS:
        rest = groups.pop()
        groups[-1] += rest
    elif size < MIN_PAGE_CHARS:
        return

    yield from groups


def items_page(items: Sequence[Item], site: str) -> Page:
    """The page of a group of items, named after the first of them."""
    first = items[0]
    full = ".".join(filter(None, (first.module, first.name)))
    names = list(dict.fromkeys(item.name.partition(".")[0] for item in items[1:] if item.name))
    title = f"{full} — {', '.join(names[:3])}" if names[:1] not in ([], [first.name]) else full
    body = "\n".join(_item_html(item) for item in items)
    return Page(site, f"/reference/{_TITLE_CHARS.sub('-', full)}.html", title, body)


def _item_html(item: Item) -> str:
    text = markup.docstring_html(item.text)
    if not item.name:
        return text

    name = html.escape(item.name)
    signature = (
        f'<p class="signature"><code>{name}{html.escape(item.signature)}</code></p>'
        if item.signature
        else ""
    )

    return f'<section id="{name}"><h2>{name}</h2>{signature}\n{text}</section>'


def _cut(text: str, limit: int) -> str:
    """`text`, or its beginning up to the last blank line before `limit`."""
    return text if len(text) <= limit else text[: max(text.rfind("\n\n", 0, limit), 0)]


def _with_free_path(page: Page, seen: set[str]) -> Page:
    """`page` under a path unlike all earlier ones, also in lower case."""
    stem, dot, extension = page.path.rpartition(".html")
    if not dot:
        stem, extension = page.path, ""
    path, number = page.path, 2
    while f"{page.host}{path}".lower() in seen:
        path = f"{stem}-{number}{dot}{extension}"
        number += 1

    seen.add(f"{page.host}{path}".lower())
    return replace(page, path=path)
