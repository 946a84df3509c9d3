"""The probe of a host: its answer for an address that cannot exist.

A host with a page for it gives the same page for every missing one. The fingerprint of this answer
identifies such pages, in any language. Source: Bar-Yossef, Broder, Kumar and Tomkins, "Sic transit
gloria telae", WWW 2004.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from xxhash import xxh3_64_hexdigest, xxh3_128_digest

# Fewer words say nothing: a page made by scripts is the same at all its addresses.
MIN_WORDS: Final = 5
MAX_BYTES: Final = 1 << 20
# Characters of the shortest repetition of an address; a shorter one is a word of the answer.
MIN_ECHO: Final = 6
_NOT_TEXT: Final = re.compile(
    rb"<(script|style|noscript|template)\b.*?</\1\s*>|<!--.*?-->", re.I | re.S
)
_TAG: Final = re.compile(rb"<[^<>]{0,2000}>")
_WORD: Final = re.compile(rb"[a-z\x80-\xff]+")


def probe_url(origin: str) -> str:
    """An address of a site (`http://host:port`) that cannot exist, the same one for each run."""
    return f"{origin}/{xxh3_64_hexdigest(origin.encode())}"


def answer_fingerprint(body: bytes, url: str) -> bytes | None:
    """The fingerprint of an answer's words, or None for an answer of too few words.

    Markup, numbers and repetitions of the address asked for are left out.
    """
    text = _TAG.sub(b" ", _NOT_TEXT.sub(b" ", body[:MAX_BYTES].lower()))
    for echo in _echoes(url):
        text = text.replace(echo, b" ")
    words = _WORD.findall(text)
    return xxh3_128_digest(b" ".join(words)) if len(set(words)) >= MIN_WORDS else None


def _echoes(url: str) -> list[bytes]:
    """The forms in which a page repeats its own address, the longest first."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    last = parts.path.rstrip("/").rpartition("/")[2]
    forms = {url, target, parts.path, last}
    forms |= {unquote(form) for form in forms}
    forms |= {form.replace("&", "&amp;") for form in forms}
    found = {form.lower().encode() for form in forms if len(form) >= MIN_ECHO}
    return sorted(found, key=lambda form: (-len(form), form))
