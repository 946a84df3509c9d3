"""Drops pages of Wikipedia and of its mirrors.

GPT-2 (section 2.1): "We removed all Wikipedia documents from WebText since it is a common data
source for other datasets and could complicate analysis due to over-lapping training data with test
evaluation tasks." A copy is recognised by its address (the domains below, or Wikipedia's address
inside an archive's or proxy's) or by its own words: the licence's credit for copies, or Wikipedia's
page furniture. A page with quotations or links of Wikipedia is not a mirror.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from pydantic import field_validator

from clean.reasons import Reason
from corpus.config import Section

_MIRRORS = (
    "wikiwand.com wikizero.com wikizero.org wiki2.org wikimili.com wikivisually.com thereaderwiki.com alchetron.com "
    "infogalactic.com justapedia.org thefullwiki.org absoluteastronomy.com wordiq.com fact-archive.com "
    "spiritus-temporis.com economicexpert.com knowledgerush.com sensagent.com en-academic.com enacademic.com "
    "academic.ru deacademic.com kiddle.co dbpedia.org wikimonde.com worldheritage.org worldlibrary.org worldlibrary.net "
    "gutenberg.us qwika.com artandpopularculture.com kidzsearch.com alegsaonline.com explained.today"
)
# Domains mainly republishing Wikipedia's articles (or DBpedia's extracts of them).
MIRRORS = frozenset(_MIRRORS.split())

# In an address, or within one, where it may be percent-encoded (%2F, %3A, %3F, %23).
_ADDRESS = re.compile(
    r"(?:[./]|%2F)wikipedia\.org(?=\.?(?:[/:?#]|%(?:2F|3A|3F|23)|$))|-wikipedia-org\.translate\.goog(?=\.?(?:[/:?#]|$))",
    re.I,
)
_OWN = re.compile(
    r"<link\s[^<>]{0,200}?rel=[\"']?canonical[\"']?[^<>]{0,200}?href=[\"']?https?://[a-z-]{1,20}\.(?:m\.)?wikipedia\.org/"
    r"|\"wgSiteName\"\s{0,3}:\s{0,3}\"Wikipedia\""
    r"|<meta\s[^<>]{0,200}?og:site_name[^<>]{0,40}?content=[\"']Wikipedia[\"']"
    r"|Wikipedia(?:®|&reg;|&#174;)\s{1,5}is\s{1,5}a\s{1,5}registered\s{1,5}trademark\s{1,5}of\s{1,5}the",
    re.I,
)
_CREDIT = re.compile(
    r"(?:uses|incorporates|contains|includes|reproduces)\s{1,5}(?:material|text|content|information)\s{1,5}from\s{1,5}"
    r"(?:the\s{1,5})?(?:<[^<>]{0,300}>\s{0,5}|[\"“]){0,3}Wikipedia(?:</a>)?\s{1,5}(?:article|encyclop)"
    r"|This\s{1,5}(?:article|page|entry)\s{1,5}(?:is|was)\s{1,5}(?:copied|imported|mirrored|based\s{1,5}on\s{1,5}an\s{1,5}article)"
    r"\s{1,5}from\s{1,5}(?:the\s{1,5})?(?:<[^<>]{0,300}>\s{0,5}|[\"“]){0,3}(?:English\s{1,5})?Wikipedia"
    r"|(?:licensed\s{1,5}under|available\s{1,5}under)\s{1,5}the\s{1,5}(?:<[^<>]{0,300}>\s{0,5}){0,2}"
    r"(?:GNU\s{1,5}Free\s{1,5}Documentation\s{1,5}License|Creative\s{1,5}Commons[^<>]{0,60})[^<>]{0,40}(?:</a>)?"
    r"[^<>]{0,60}(?:It|which)\s{1,5}uses\s{1,5}material\s{1,5}from",
    re.I,
)
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_NAME = "ikipedia"
_TAGLINE = "from wikipedia, the free encyclopedia"
# Characters searched for the line below the title of each of Wikipedia's articles.
TAGLINE_CHARS = 400
# Characters searched on either side of a mention of Wikipedia.
AROUND_CHARS = 600
# Mentions that are searched. A mirror names its source near the top or at the bottom of a page of
# ordinary length.
MAX_MENTIONS = 100


class WikipediaConfig(Section):
    """Removal of Wikipedia and its mirrors."""

    remove: bool = True
    """Drop these pages. GPT-2 section 2.1."""
    domains: tuple[str, ...] = ()
    """Further registered domains to drop as mirrors."""

    def without_effect(self) -> dict[str, str]:
        """The list of mirrors, while they are kept."""
        return {} if self.remove else {"domains": "clean.wikipedia.remove is false"}

    @field_validator("domains")
    @classmethod
    def _check_domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for domain in value:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(f"{domain!r} is not a domain; expected one such as example.org")
        return tuple(domain.lower() for domain in value)


def judge_address(urls: Iterable[str], config: WikipediaConfig) -> Reason | None:
    """True if one of a page's addresses (as linked, as reached) is Wikipedia's or a mirror's."""
    if not config.remove:
        return None

    for url in urls:
        if _ADDRESS.search(url):
            return Reason.WIKIPEDIA
        labels = (urlsplit(url).hostname or "").rstrip(".").split(".")
        domains = {".".join(labels[start:]) for start in range(len(labels))}
        if not domains.isdisjoint(MIRRORS) or not domains.isdisjoint(config.domains):
            return Reason.WIKIPEDIA_MIRROR

    return None


def judge_content(html: str, text: str, config: WikipediaConfig) -> Reason | None:
    """True if the page calls itself a copy of an article."""
    if not config.remove:
        return None
    if _TAGLINE in text[:TAGLINE_CHARS].lower() or any(
        _OWN.search(around) or _CREDIT.search(around) for around in _mentions(html)
    ):
        return Reason.WIKIPEDIA_MIRROR

    return None


def _mentions(html: str) -> Iterator[str]:
    """The text around each mention of Wikipedia, up to `MAX_MENTIONS` of them."""
    place = html.find(_NAME)
    for _ in range(MAX_MENTIONS):
        if place < 0:
            return
        yield html[max(0, place - AROUND_CHARS) : place + AROUND_CHARS]
        place = html.find(_NAME, place + AROUND_CHARS // 2)
