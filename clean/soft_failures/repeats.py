"""One text at many addresses: a host's answer for missing pages, or one wall on many
sites.

Neither needs a phrase or a language. Numbers, dates and the site's own name may differ. A pure
function of all texts of a batch, in any order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from xxhash import xxh3_128_hexdigest

from clean.soft_failures.addresses import SoftFailure
from clean.soft_failures.config import SoftFailuresConfig

# Most words of a counted text. A longer one is a page with several addresses.
MAX_HOST_WORDS: Final = 300
# Over sites, longer texts are shared reports and poems.
MAX_SITE_WORDS: Final = 100
# Distinct words of the shortest one, so a list of numbers is not a text.
MIN_WORDS: Final = 5
_WORD: Final = re.compile(r"[^\W\d_]+")


class RepeatedText(NamedTuple):
    """A document whose text may be at other addresses too."""

    doc_id: str
    url: str
    domain: str
    num_words: int


def text_key(text: str, domain: str) -> str | None:
    """The key of a text's words, or None for one that is too long or has too few words."""
    if text.count(" ") > 2 * MAX_HOST_WORDS:
        return None
    own = set(_WORD.findall(domain.lower()))
    words = [word for word in _WORD.findall(text.lower()) if word not in own]
    if len(words) > MAX_HOST_WORDS or len(set(words)) < MIN_WORDS:
        return None
    return xxh3_128_hexdigest(" ".join(words).encode())


def repeated(
    documents: Sequence[RepeatedText], config: SoftFailuresConfig
) -> Mapping[str, SoftFailure]:
    """The failures among all documents of one text, by `doc_id`.

    An address counts without its query: a page is often posted with several.
    """
    paths: dict[str, set[str]] = defaultdict(set)
    for each in documents:
        parts = urlsplit(each.url)
        paths[parts.netloc.lower()].add(parts.path.rstrip("/").lower())

    found: dict[str, SoftFailure] = {}
    domains = {each.domain for each in documents}
    for each in documents:
        host = urlsplit(each.url).netloc.lower()
        if len(paths[host]) >= config.repeated_addresses:
            detail = f"the same text at {len(paths[host]):,} addresses of {host}"
            found[each.doc_id] = SoftFailure("soft_404", detail)
        elif len(domains) >= config.repeated_sites and each.num_words <= MAX_SITE_WORDS:
            detail = f"the same text on {len(domains):,} sites"
            found[each.doc_id] = SoftFailure("error_page", detail)

    return {doc_id: each for doc_id, each in found.items() if each.kind not in config.keep}
