"""Code as lines of text in one `pre`, whatever its lines are made of.

Sites show the lines of a program as `<br>`, a `<div>` or a table row each, with a gutter of line
numbers beside them. The text of a `pre` and of the known code tables is put together line by line
here, so that indentation and line ends are those that a reader sees.
"""

from __future__ import annotations

import re

from clean.rewrite.elements import attribute, replace_elements, without_tags

_NAMES = (
    r"(?:gutter|linenos?|linenodiv|blob-num|hljs-ln-numbers|crayon-nums?|rouge-gutter|lineno"
    r"|line-?numbers?|line-numbers-rows|LineNr|react-line-number|ln-num)"
)
# Parts of a tag are bounded: data of scripts in an attribute can be a megabyte long.
_GUTTER = re.compile(
    r"<(td|th|div|span|a|pre)\s[^<>]{0,1000}?class\s*=\s*[\"']?[^\"'<>]{0,1000}(?<![\w-])"
    + _NAMES
    + r"(?![\w-])[^<>]*>",
    re.I,
)
# A page without one of these strings has no element that the two expressions would find.
_GUTTER_STRINGS = (
    *("gutter", "lineno", "linenum", "line-num", "linediv", "blob-num", "ln-num", "LineNr"),
    *("lineNum", "crayon-num"),
)
_CONTAINER_STRINGS = (
    *("blob-wrapper", "js-file-line", "syntaxhighlighter", "crayon-main", "crayon-table"),
    *("hljs-ln", "rouge-table", "codetable", "view-lines", "CodeMirror-code", "react-code-lines"),
)
_NUMBERS = re.compile(r"(?:[\d\s.|]|&nbsp;)*")
_GUTTER_SIGNS = frozenset(
    {"gutter", "lineno", "linenos", "linenodiv", "linenumber", "linenumbers", "linenr"}
    | {"line", "ln", "blob", "crayon"}
)
_CONTAINER_SIGNS = frozenset(
    {"blob", "syntaxhighl", "crayon", "hljs", "rouge", "codetable", "codemirror"}
)
_CONTAINER = re.compile(
    r"<(table|div)\s[^<>]{0,1000}?class\s*=\s*[\"']?[^\"'<>]{0,1000}(?<![\w-])"
    r"(?:blob-wrapper|js-file-line-container|syntaxhighlighter|crayon-main|crayon-table|hljs-ln"
    r"|rouge-table|codetable|view-lines|CodeMirror-code|react-code-lines)(?![\w-])[^<>]*>",
    re.I,
)
_PRE = re.compile(r"<(pre)(?=[\s>])[^<>]*>", re.I)
_STYLED = re.compile(
    r"<(div|p|code|span)\s[^<>]{0,1000}?style\s*=\s*[\"'][^\"'<>]{0,1000}white-space\s*:\s*(?:pre|break-spaces)"
    r"(?!-line)[^<>]*>",
    re.I,
)
_BLOCK_TAG = re.compile(r"<(?:br|/?(?:div|p|li|ol|ul|tr|table|tbody|thead|dd|dt))(?=[\s/>])", re.I)
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)[^<>]*>")
_BLOCKS = frozenset({"div", "p", "li", "ol", "ul", "tr", "table", "tbody", "thead", "dd", "dt"})
_CELLS = frozenset({"td", "th"})


def with_plain_code(html: str, signs: frozenset[str]) -> str:
    """`html` with code as `pre` elements without elements in them."""
    has_tables = not signs.isdisjoint(_CONTAINER_SIGNS) or (
        "lines" in signs and not signs.isdisjoint({"view", "react"})
    )

    if has_tables or "pre" in signs:
        if not signs.isdisjoint(_GUTTER_SIGNS) and _has_one(html, _GUTTER_STRINGS):
            html = replace_elements(html, _GUTTER, _without_gutter)
        if has_tables and _has_one(html, _CONTAINER_STRINGS):
            html = replace_elements(html, _CONTAINER, _container)

    if signs.issuperset({"white", "space"}) and "white-space" in html:
        html = replace_elements(html, _STYLED, _styled)
    if "<pre" in html or "<PRE" in html:
        html = replace_elements(html, _PRE, _preformatted)

    return html


def code_lines(content: str) -> str:
    """The lines of code in a piece of markup, references as written."""
    lines = [""]
    done = 0
    after_block = True

    for tag in [*_TAG.finditer(content), None]:
        text = content[done : tag.start() if tag else len(content)]
        name = tag[2].lower() if tag else ""
        is_block = name in _BLOCKS

        # White space of the source between two rows or line elements is not shown.
        if not (after_block and (is_block or tag is None) and not text.strip()):
            parts = text.split("\n")
            lines[-1] += parts[0]
            lines += parts[1:]

        if (is_block and lines[-1]) or name == "br":
            lines.append("")
        if tag:
            after_block = is_block or (after_block and name in _CELLS)
            done = tag.end()

    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


def _has_one(html: str, strings: tuple[str, ...]) -> bool:
    return any(string in html for string in strings)


def _without_gutter(tag: re.Match[str], content: str) -> str | None:
    """Nothing in the place of an element that holds only numbers; others have that name, too."""
    if not _NUMBERS.fullmatch(without_tags(content)):
        return None
    return f"<{tag[1]}></{tag[1]}>" if tag[1].lower() in _CELLS else ""


def _container(tag: re.Match[str], content: str) -> str | None:
    if _PRE.search(content):
        return None
    return f"<pre>{code_lines(content)}</pre>"


def _styled(tag: re.Match[str], content: str) -> str | None:
    """A `pre` for an element of several lines that keeps its white space."""
    if "\n" not in content.strip() or "<pre" in content.lower() or _holds_prose(content):
        return None
    return f"<pre>{content}</pre>"


def _holds_prose(content: str) -> bool:
    """True if the lines are wrapped paragraphs: `white-space: pre-wrap` is set on those as well."""
    lines = [line for line in without_tags(content).split("\n") if line.strip()]
    return not any(line[:1] in " \t" for line in lines[1:])


def _preformatted(tag: re.Match[str], content: str) -> str | None:
    if not _BLOCK_TAG.search(content):
        return None
    start = attribute(tag[0], "class")
    opening = f'<pre class="{start}">' if start else "<pre>"
    return f"{opening}{code_lines(content)}</pre>"
