"""Elements shown by browsers and passed over by a parser of today's HTML.

Obsolete elements of plain text (`xmp`, `listing`, `plaintext`), frames for browsers without them,
declarative shadow roots, sources of slides in a `textarea`, and addresses hidden from robots by a
proxy (Cloudflare's `data-cfemail`: bytes in hexadecimal, each combined with the first by exclusive
or).
"""

from __future__ import annotations

import re
from html import escape

from clean.rewrite.elements import replace_elements

# A shorter `textarea` is a field of a form.
MIN_SOURCE_CHARS = 200
_OLD = re.compile(r"<(xmp|listing|plaintext)(?=[\s>])[^<>]*>", re.I)
_OPEN_PLAIN = re.compile(r"<plaintext(?=[\s>])[^<>]*>", re.I)
_TEXTAREA = re.compile(r"<(textarea)(?=[\s>])[^<>]*>", re.I)
_NOFRAMES = re.compile(r"<(/?)noframes(?=[\s>])[^<>]*>", re.I)
_TEMPLATE_TAG = re.compile(r"<(/?)template(?=[\s>])([^<>]*)>", re.I)
_SHADOW_ROOT = re.compile(r"\sshadowroot(?:mode)?\s*=", re.I)
# Atomic: a tag with such an attribute ten thousand times is not read to its end for each of them.
_EMAIL = re.compile(
    r"<(a|span)\s(?>[^<>]*?data-cfemail\s*=\s*[\"']?((?:[0-9a-f]{2}){2,200})(?![0-9a-f]))[\"']?"
    r"[^<>]*+>[^<]*+</\1>",
    re.I,
)


def with_shown_elements(html: str, signs: frozenset[str]) -> str:
    """`html` with these elements replaced by ones that every reader of HTML shows."""
    if not signs.isdisjoint({"<xmp", "<listing"}):
        html = replace_elements(html, _OLD, _preformatted)
    if "<plaintext" in signs and (found := _OPEN_PLAIN.search(html)):
        html = f"{html[: found.start()]}<pre>{escape(html[found.end() :], quote=False)}</pre>"
    if not signs.isdisjoint({"<noframes", "</noframes"}):
        html = _NOFRAMES.sub(r"<\1div>", html)
    if "shadowroot" in signs:
        html = _with_shadow_roots(html)
    if "<textarea" in signs:
        html = replace_elements(html, _TEXTAREA, _source)
    if "data-cfemail" in signs:
        html = _EMAIL.sub(lambda found: escape(_address(bytes.fromhex(found[2]))), html)

    return html


def _with_shadow_roots(html: str) -> str:
    """`html` with each shadow root as a `div`, those within others as well."""
    roots: list[bool] = []

    def opened(tag: re.Match[str]) -> str:
        if not tag[1]:
            roots.append(bool(_SHADOW_ROOT.search(tag[2])))
            return "<div>" if roots[-1] else tag[0]
        return "</div>" if roots and roots.pop() else tag[0]

    return _TEMPLATE_TAG.sub(opened, html)


def _preformatted(tag: re.Match[str], content: str) -> str:
    """A `pre` with its markup as text, as in `xmp`; `listing` holds markup."""
    if tag[1].lower() == "listing":
        return f"<pre>{content}</pre>"
    return f"<pre>{escape(content, quote=False)}</pre>"


def _source(tag: re.Match[str], content: str) -> str | None:
    """A long text of several lines is the page's content, as with remark's slides."""
    if len(content) < MIN_SOURCE_CHARS or "\n" not in content.strip():
        return None
    return f"<pre>{escape(content, quote=False)}</pre>"


def _address(code: bytes) -> str:
    return bytes(byte ^ code[0] for byte in code[1:]).decode("utf-8", "replace")
