"""Code as lines of text in one `pre`, however its lines are marked up.

Sites show the lines of a program as `<br>`, a `<div>` or a table row each, with a gutter of line
numbers beside them. The text of a `pre`, of the known editors and code tables, and of elements in a
typewriter's font is put together line by line here, with the indentation and line ends seen by a
reader.
"""

from __future__ import annotations

import re
from typing import Any, Final

from clean.rewrite.elements import attribute, replace_elements, without_tags
from clean.rewrite.signs import CODE_CONTAINERS, FONTS, GUTTERS, MADE_PRE

# Parts of a tag are bounded: data of scripts in an attribute can be a megabyte long.
_CLASS = r"\s[^<>]{0,1000}?class\s*=\s*[\"']?[^\"'<>]{0,1000}(?<![\w-])"
_GUTTER = re.compile(
    r"<(td|th|div|span|a|pre|ul)"
    + _CLASS
    + r"(?:gutter|linenos?|linenodiv|blob-num|hljs-ln-numbers|crayon-nums?|rouge-gutter|lineno"
    r"|line-?numbers?|line-numbers-rows|LineNr|react-line-number|ln-num|ln|lnt|lntd|pre-numbering"
    r"|ace_gutter|cm-gutters?|CodeMirror-(?:gutters?|linenumber)|diff-line-num|code-line-number)"
    r"(?![\w-])[^<>]*>",
    re.I,
)
_CONTAINER = re.compile(
    r"<(table|div)"
    + _CLASS
    + r"(?:blob-wrapper|js-file-line-container|syntaxhighlighter|crayon-main|crayon-table|hljs-ln"
    r"|rouge-table|codetable|view-lines|CodeMirror-code|react-code-lines|ace_text-layer"
    r"|ace_content|cm-content|dp-highlighter|diff-table|lntable|highlighttable|codehilitetable)"
    r"(?![\w-])[^<>]*>",
    re.I,
)
_SPACES = re.compile(r"[ \t\r\n]+")
_NUMBERS = re.compile(r"(?:[\d\s.|]|&nbsp;)*")
_PRE = re.compile(r"<(pre)(?=[\s>])[^<>]*>", re.I)
_STYLE = r"\s[^<>]{0,1000}?style\s*=\s*[\"'][^\"'<>]{0,1000}"
_STYLED = re.compile(
    r"<(div|p|code|span)" + _STYLE + r"white-space\s*:\s*(?:pre|break-spaces)(?!-line)[^<>]*>",
    re.I,
)
_TYPEWRITER = re.compile(
    r"<(div|p|code|span|td)"
    + _STYLE
    + r"font(?:-family)?\s*:[^;\"<>]{0,200}(?:monospace|courier|consolas|menlo|monaco)[^<>]*>",
    re.I,
)
_CODE = re.compile(r"<(code|samp|tt)(?=[\s>])[^<>]*>", re.I)
# Buttons and a toolbar within code, such as "Copy".
_BUTTON = re.compile(r"<(button)(?=[\s>])[^<>]*>", re.I)
_TOOLBAR = re.compile(
    r"<(div)" + _CLASS + r"(?:bar|tools|toolbar|code-toolbar)(?![\w-])[^<>]*>", re.I
)
_BLOCK_TAG = re.compile(r"<(?:br|/?(?:div|p|li|ol|ul|tr|table|tbody|thead|dd|dt))(?=[\s/>])", re.I)
_LINE = re.compile(
    r"\sclass\s*=\s*(?:\"[^\"<>]{0,1000}(?<![\w-])|'[^'<>]{0,1000}(?<![\w-])|)"
    r"(?:line|token-line|code-line|view-line|cm-line|ace_line|CodeMirror-line|ec-line|cl-line)"
    r"(?![\w-])",
    re.I,
)
_LINE_ELEMENT = re.compile(r"<(?:span|code|div)[^<>]*?" + _LINE.pattern, re.I)
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)[^<>]*>")
_MARKER = re.compile(r"\sdata-code-marker\s*=\s*[\"']([+-])[\"']")
_BLOCKS: Final = frozenset(
    {"div", "p", "li", "ol", "ul", "tr", "table", "tbody", "thead", "dd", "dt"}
)
_CELLS: Final = frozenset({"td", "th"})
# Each of these is a line for a reader, an empty one as well.
_ROWS: Final = frozenset({"li", "tr"})
_INDENTED = re.compile(r"^(?: {2}|\t|\u00a0|&nbsp;|&#160;)", re.M)
# Markup of paragraphs, lists, pictures and controls: none is in code.
_NO_CODE = re.compile(
    r"<(?:p|h[1-6]|ul|table|img|figure|form|input|section|iframe)(?=[\s/>])", re.I
)
# Longer text in the font of a typewriter is a page in that font.
MAX_CODE_CHARS: Final = 50_000


def with_plain_code(html: str, signs: frozenset[str]) -> str:
    """`html` with code as `pre` elements without elements in them."""
    given = html
    has_container = not signs.isdisjoint(CODE_CONTAINERS)
    if (has_container or "<pre" in signs) and not signs.isdisjoint(GUTTERS):
        html = replace_elements(html, _GUTTER, _without_gutter)
    if has_container:
        html = replace_elements(html, _CONTAINER, _container)
    if "white-space" in signs:
        html = replace_elements(html, _STYLED, _styled)
    if "<pre" in signs or MADE_PRE in signs or html is not given:
        html = replace_elements(html, _PRE, _preformatted)
    if not signs.isdisjoint(FONTS):
        html = replace_elements(html, _TYPEWRITER, _broken_lines)
    if not signs.isdisjoint({"<code", "<samp", "<tt"}):
        html = replace_elements(html, _CODE, _broken_lines)

    return html


def code_lines(content: str) -> str:
    """The lines of code in a piece of markup, references as written."""
    lines = [""]
    done = 0
    after_block = True
    # Open elements that are a line each: their names, the number of lines at their start, and
    # open elements of that name within.
    open_lines: list[list[Any]] = []
    # True behind such an element: its line ends where the next text or line begins.
    is_ended = False

    for tag in [*_TAG.finditer(content), None]:
        text = content[done : tag.start() if tag else len(content)]
        name = tag[2].lower() if tag else ""
        is_block = name in _BLOCKS

        # White space of the source between two rows or line elements is not shown.
        between = after_block and (is_block or name in _CELLS or tag is None)
        if text and not (between and not text.strip()):
            if is_ended:
                text = text.removeprefix("\r").removeprefix("\n")
                lines.append("")
                is_ended = False
            parts = text.split("\n")
            lines[-1] += parts[0]
            lines += parts[1:]

        if tag is None:
            break
        done = tag.end()
        if not tag[1] and (name in _ROWS or _LINE.search(tag[0])):
            if is_ended or (is_block and lines[-1]):
                lines.append("")
            is_ended = False
            open_lines.append([name, len(lines), 0])
        elif open_lines and open_lines[-1][0] == name and (tag[1] or not is_block):
            open_lines[-1][2] += -1 if tag[1] else 1
            if open_lines[-1][2] < 0:
                # A line with a line end of its own needs no second one.
                is_ended = len(lines) == open_lines.pop()[1] or bool(lines[-1])
        elif (is_block and lines[-1]) or name == "br":
            lines.append("")
            is_ended = False

        if marker := _MARKER.search(tag[0]):
            lines[-1] += marker[1]
        after_block = is_block or (after_block and name in _CELLS)

    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


def _without_gutter(tag: re.Match[str], content: str) -> str | None:
    """Nothing in place of an element that holds only numbers. Other elements have its name, too."""
    if not _NUMBERS.fullmatch(without_tags(content)):
        return None
    return f"<{tag[1]}></{tag[1]}>" if tag[1].lower() in _CELLS else ""


def _container(tag: re.Match[str], content: str) -> str | None:
    found = _PRE.search(content)
    if found is None:
        return f"<pre>{code_lines(_without_tools(content))}</pre>"

    # A table of a gutter, empty by now, and the code.
    rest = _PRE.sub("", content)
    is_one = tag[1].lower() == "table" and content.lower().count("<pre") == 1
    return f"{found[0]}{code_lines(rest)}</pre>" if is_one else None


def _without_tools(content: str) -> str:
    content = replace_elements(content, _BUTTON, lambda tag, inner: "")
    return replace_elements(content, _TOOLBAR, lambda tag, inner: "")


def _styled(tag: re.Match[str], content: str) -> str | None:
    """A `pre` for an element of several lines with white space kept."""
    if "<pre" in content.lower():
        return None
    if _BLOCK_TAG.search(content) and not _NO_CODE.search(content):
        lines = code_lines(content)
        return f"<pre>{lines}</pre>" if _INDENTED.search(lines) and "\n" in lines else None
    if "\n" not in content.strip() or _holds_prose(content):
        return None
    return f"<pre>{content}</pre>"


def _holds_prose(content: str) -> bool:
    """True if the lines are wrapped paragraphs: `white-space: pre-wrap` is set on those as well."""
    lines = [line for line in without_tags(content).split("\n") if line.strip()]
    return not any(line[:1] in " \t" for line in lines[1:])


def _broken_lines(tag: re.Match[str], content: str) -> str | None:
    """A `pre` for code with lines made by `<br>` or elements, if one of them is indented."""
    if len(content) > MAX_CODE_CHARS or not _BLOCK_TAG.search(content):
        return None
    if _NO_CODE.search(content) or "<pre" in content.lower():
        return None

    # White space of the source collapses. Indentation is made of no-break spaces.
    lines = code_lines(_SPACES.sub(" ", content))
    lines = "\n".join(line.lstrip(" ") for line in lines.split("\n"))
    is_code = "\n" in lines and _INDENTED.search(lines)
    return f"<pre>{lines}</pre>" if is_code else None


def _preformatted(tag: re.Match[str], content: str) -> str | None:
    content = _without_tools(content)
    if not _BLOCK_TAG.search(content) and not _LINE_ELEMENT.search(content):
        return None
    start = attribute(tag[0], "class")
    opening = f'<pre class="{start}">' if start else "<pre>"
    return f"{opening}{code_lines(content)}</pre>"
