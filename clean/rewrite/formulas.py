r"""One representation for each formula: its TeX, as \\(...\\) in a line and \\[...\\] on its own.

Pages carry a formula up to three times: as MathML for screen readers, as positioned spans for the
eye, and as TeX. KaTeX, MathJax 2 and 3, MediaWiki, LaTeXML, WordPress and services drawing TeX are
known here. MathML without TeX becomes TeX if places in it carry meaning (`mathml`), and any other
formula stays as it is.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote_plus

from clean.rewrite.elements import attribute, replace_elements
from clean.rewrite.mathml import tex_of
from clean.rewrite.signs import (
    DOLLARS,
    DRAWN,
    FORMULAS,
    MATH_CONTAINERS,
    MATH_DATA,
    MATH_ELEMENTS,
    MATH_IMAGES,
    SERVICES,
)

# Parts of a tag are bounded, or atomic: data of scripts in an attribute can be a megabyte long.
_CLASS = r"class\s*=\s*[\"']?[^\"'<>]{0,1000}(?<![\w-])"
_RENDERED = re.compile(
    r"<(span|div|nobr)\s[^<>]{0,1000}?"
    + _CLASS
    + r"(?:MathJax_Preview|MathJax_SVG|MathJax_CHTML|MathJax_Display|MathJax|mjx-chtml)"
    r"(?![\w-])[^<>]*>",
    re.I,
)
_DISPLAY = re.compile(
    r"<(span|div)\s[^<>]{0,1000}?" + _CLASS + r"katex-display(?![\w-])[^<>]*>", re.I
)
_KATEX = re.compile(r"<(span)\s[^<>]{0,1000}?" + _CLASS + r"katex(?![\w-])[^<>]*>", re.I)
_KATEX_MATHML = re.compile(
    r"<(span)\s[^<>]{0,1000}?" + _CLASS + r"katex-mathml(?![\w-])[^<>]*>", re.I
)
_CONTAINER = re.compile(
    r"<(mjx-container(?=[\s>])|span(?=[^<>]{0,1000}?mwe-math-element))[^<>]*>", re.I
)
_MATH = re.compile(r"<((?:\w{1,8}:)?math)(?=[\s>])[^<>]*>", re.I)
_ANNOTATION = re.compile(
    r"<((?:\w{1,8}:)?annotation)"
    r"(?>[^<>]*?encoding\s*=\s*[\"']?(?:application/x-|text/x-|)(?:la)?tex(?![\w-]))"
    r"[^<>]*+>([^<]*+)</\1>",
    re.I,
)
# The content has no further script: scripts that nothing ends would each be read to the page's end.
_SCRIPT = re.compile(
    r"<script(?>[^<>]*?type\s*=\s*[\"']?math/tex)(;\s*mode=display)?+[\"']?[^<>]*+>"
    r"((?:(?!<script).)*?)</script>",
    re.I | re.S,
)
_IMAGE = re.compile(
    r"<img\s(?=[^<>]{0,1000}?"
    + _CLASS
    + r"(?:latex|tex|math|mwe-math-fallback-image-(?:inline|display)|ee_img|formula)(?![\w]))[^<>]*>",
    re.I,
)
# Services drawing the TeX in their query.
_SERVICE = re.compile(
    r"<img\s[^<>]{0,1000}?src\s*=\s*[\"']?[^\"'\s<>]*?(?:latex\.codecogs\.com/[\w.]+\?|latex\.php\?latex="
    r"|/equation\?tex=|chart\?[^\"'\s<>]*?chl=|(?:mimetex|mathtex)\.cgi\?|upmath\.me/svg/)"
    r"([^\"'\s<>]*)[^<>]*>",
    re.I,
)
_DOLLARS = re.compile(
    r"<img\s[^<>]{0,1000}?alt\s*=\s*([\"'])\s*(\$\$?)([^$<>]{1,2000})\2\s*\1[^<>]*>", re.I
)
_CDATA = re.compile(r"^\s*%?\s*<!\[CDATA\[|%?\s*\]\]>\s*$")
_DATA = re.compile(
    r"<(span|div)\s[^<>]{0,1000}?data-(?:math|tex|latex|formula|expr)\s*=\s*[\"'][^\"']+[\"'][^<>]*>",
    re.I,
)
_DATA_VALUE = re.compile(
    r"data-(?:math|tex|latex|formula|expr)\s*=\s*(?:\"([^\"]+)\"|'([^']+)')", re.I
)
_DISPLAY_STYLE = re.compile(r"\s*\{?\s*\\displaystyle\b\s*(.*?)\s*\}?\s*", re.S)


def with_tex(html: str, signs: frozenset[str]) -> str:
    """`html` with TeX in place of the formulas carrying it."""
    if signs.isdisjoint(FORMULAS):
        return html

    def has(pieces: tuple[str, ...]) -> bool:
        return not signs.isdisjoint(pieces)

    if has(DOLLARS):
        html = _DOLLARS.sub(lambda found: _tex(found[3], len(found[2]) > 1), html)
    if "katex" in signs:
        html = replace_elements(html, _DISPLAY, lambda tag, content: _first_tex(content, True))
        html = replace_elements(html, _KATEX, lambda tag, content: _katex(content))
    if has(DRAWN):
        html = replace_elements(html, _RENDERED, lambda tag, content: _kept_script(content))
        html = _SCRIPT.sub(lambda found: _script(found[2], bool(found[1])), html)
    if has(MATH_CONTAINERS):
        html = replace_elements(html, _CONTAINER, lambda tag, content: _container(tag[0], content))
    if has(MATH_ELEMENTS):
        html = replace_elements(html, _MATH, lambda tag, content: _math(tag[0], content))
    if has(SERVICES):
        html = _SERVICE.sub(_drawn, html)
    if has(MATH_IMAGES):
        html = _IMAGE.sub(lambda found: _image(found[0]), html)
    if has(MATH_DATA):
        html = replace_elements(html, _DATA, lambda tag, content: _data(tag[0]))

    return html


def _tex(tex: str, display: bool) -> str:
    tex = " ".join(tex.split())
    if not tex:
        return ""
    return f"<p>\\[{tex}\\]</p>" if display else f"\\({tex}\\)"


def _escaped(tex: str) -> str:
    return tex.replace("&", "&amp;").replace("<", "&lt;")


def _script(tex: str, display: bool) -> str:
    return _tex(_escaped(_CDATA.sub("", _CDATA.sub("", tex))), display)


def _katex(content: str) -> str | None:
    """The TeX of a formula. Without it, only the part drawn for the eye."""
    if (tex := _first_tex(content, False)) is not None:
        return tex
    return replace_elements(content, _KATEX_MATHML, lambda tag, inner: "")


def _drawn(found: re.Match[str]) -> str:
    """The TeX of a picture: its other text, or else the query of its address."""
    label = attribute(found[0], "alt") or attribute(found[0], "title") or ""
    if label.strip() and not label.startswith("http"):
        return _tex(_without_style(label.strip().strip("$")), False)
    query = unescape(found[1]).split("&")[0]
    return _tex(_escaped(unquote_plus(query)), False) or found[0]


def _kept_script(content: str) -> str:
    """The TeX within the drawn part, if any."""
    return "".join(found[0] for found in _SCRIPT.finditer(content))


def _first_tex(content: str, display: bool) -> str | None:
    found = _ANNOTATION.search(content)
    return _tex(found[2], display) if found else None


def _math(tag: str, content: str) -> str | None:
    display = attribute(tag, "display") == "block"
    if (found := _first_tex(_bare(content), display)) is not None:
        return found
    if alternative := attribute(tag, "alttext"):
        return _tex(_without_style(alternative), display)
    made = tex_of(content)
    return _tex(_escaped(made), display) if made else None


def _bare(content: str) -> str:
    """`content` without the style put around TeX by MediaWiki."""
    return _ANNOTATION.sub(
        lambda found: found[0].replace(found[2], _without_style(found[2])), content
    )


def _without_style(tex: str) -> str:
    found = _DISPLAY_STYLE.fullmatch(tex)
    return found[1] if found else tex


def _container(tag: str, content: str) -> str | None:
    """The `math` of a formula given twice, for the eye and for screen readers."""
    display = attribute(tag, "display") == "true"
    found = _MATH.search(content)
    if found is not None:
        inner = content[found.start() :]
        tex = _math(found[0], inner)
        if tex is not None:
            return tex
        end_tag = f"</{found[1].lower()}>"
        end = inner.lower().find(end_tag)
        return inner[: end + len(end_tag)] if end >= 0 else None

    data = _DATA_VALUE.search(content)
    return _tex(data[1] or data[2], display) if data else None


def _image(tag: str) -> str:
    tex = attribute(tag, "alt") or ""
    return _tex(_without_style(tex), _is_display(tag)) if tex.strip() else tag


def _is_display(tag: str) -> bool:
    """True if a tag says so. `\\displaystyle` is a size of its TeX, which MediaWiki always sets."""
    return "display" in tag.replace("\\displaystyle", "")


def _data(tag: str) -> str | None:
    found = _DATA_VALUE.search(tag)
    value = (found[1] or found[2]) if found else ""
    display = _is_display(tag) or tag[:4].lower() == "<div"
    # Other data of that name is a list, an object or an address.
    return _tex(value, display) if value and value[0] not in "[{/h" else None
