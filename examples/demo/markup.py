"""Documentation markup to HTML, and HTML back to words.

Docstrings get a small renderer of their own (headings, lists, definitions, literal blocks, inline
code): docutils needs milliseconds per kilobyte and complains about most docstrings. Whole reST and
Markdown documents go through docutils and markdown-it-py.
"""

from __future__ import annotations

import html
import re
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*?(?=[ \t]*\S)")
_UNDERLINE = re.compile(r"^([=\-~*^#+\"`.])\1{2,}\s*$")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_SECTION_WORD = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?|Attributes|Keyword Args|See Also):\s*$"
)
_DIRECTIVE = re.compile(r"^\.\.\s+([\w-]+)::\s*(.*)$")
_INLINE = re.compile(
    r"``(?P<literal>[^`\n]+)``|(?P<role>:[\w:]+:)?`(?P<quoted>[^`\n]+)`_{0,2}|\*\*(?P<strong>[^*\n]+)\*\*"
)
_TAG = re.compile(r"<[^>]*>")
_DROPPED_ELEMENT = re.compile(r"<(script|style)\b.*?</\1>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_SPACES = re.compile(r"[ \t]+")
_WORD = re.compile(r"\w+")


def docstring_html(text: str) -> str:
    """The HTML of one docstring: reST-like text with numpydoc or Google sections."""
    parts: list[str] = []
    literal = False
    for block in _BLANK_LINES.split(text.expandtabs().strip("\n")):
        if literal and block.startswith(" "):
            parts.append(_literal(block))
            continue
        parts.append(_block(block))
        literal = block.rstrip().endswith("::")

    return "\n".join(part for part in parts if part)


def markdown_html(text: str) -> str:
    """Render a Markdown document (CommonMark with tables).

    Raw HTML is kept, as package indexes do.
    """
    rendered: str = _markdown().render(text)
    return rendered


def rest_html(text: str) -> str:
    """The HTML of a reST document. Files cannot be included, and raw HTML is refused."""
    from docutils.core import publish_parts

    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 5,
        "warning_stream": False,
        "_disable_config": True,
        "initial_header_level": 2,
        "syntax_highlight": "none",
        "smart_quotes": False,
    }
    parts: dict[str, Any] = publish_parts(text, writer="html5", settings_overrides=settings)
    body: str = parts["body"]

    return body


def plain_text(markup: str) -> str:
    """The text of an HTML fragment, its tags taken off."""
    text = html.unescape(_TAG.sub(" ", _DROPPED_ELEMENT.sub(" ", markup)))
    lines = (_SPACES.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def words(text: str) -> list[str]:
    """Lower-cased Unicode words."""
    return _WORD.findall(text.lower())


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _block(block: str) -> str:
    lines = block.split("\n")
    first = lines[0].strip()
    if _UNDERLINE.match(first) and len(lines) > 2 and _UNDERLINE.match(lines[2].strip()):
        lines = lines[1:]
        first = lines[0].strip()

    if len(lines) > 1 and _UNDERLINE.match(lines[1].strip()):
        return _join(f"<h3>{_inline(first)}</h3>", lines[2:])
    if _SECTION_WORD.match(first):
        return _join(f"<h4>{_inline(first[:-1])}</h4>", lines[1:])
    if first.startswith((">>>", "$ ", "+--", "===")):
        return _literal(block)

    directive = _DIRECTIVE.match(first)
    if directive:
        return _directive(directive[1], directive[2], lines[1:])
    if _BULLET.match(lines[0]):
        return _bullets(lines)

    return (
        _definitions(lines)
        if _has_definitions(lines)
        else f"<p>{_inline(' '.join(map(str.strip, lines)))}</p>"
    )


def _join(heading: str, rest: list[str]) -> str:
    return (
        f"{heading}\n{_block(textwrap.dedent(chr(10).join(rest)))}"
        if any(map(str.strip, rest))
        else heading
    )


def _literal(block: str) -> str:
    return f"<pre><code>{html.escape(textwrap.dedent(block), quote=False)}</code></pre>"


def _directive(name: str, argument: str, lines: list[str]) -> str:
    body = textwrap.dedent("\n".join(line for line in lines if not line.strip().startswith(":")))
    if name in {"math", "code", "code-block", "doctest", "plot", "testcode"}:
        return _literal(body or argument) if (body or argument).strip() else ""
    if name in {
        "currentmodule",
        "module",
        "autosummary",
        "toctree",
        "image",
        "figure",
        "index",
        "autofunction",
    }:
        return ""

    text = _inline(" ".join((argument, *body.split())).strip())
    label = {
        "versionadded": "New in version",
        "versionchanged": "Changed in version",
        "deprecated": "Deprecated since",
    }

    return (
        f'<p class="{name}"><em>{label.get(name, name.capitalize())}</em> {text}</p>'
        if text
        else ""
    )


def _bullets(lines: list[str]) -> str:
    entries: list[list[str]] = []
    for line in lines:
        if _BULLET.match(line) or not entries:
            entries.append([_BULLET.sub("", line).strip()])
        else:
            entries[-1].append(line.strip())
    return "<ul>" + "".join(f"<li>{_inline(' '.join(entry))}</li>" for entry in entries) + "</ul>"


def _has_definitions(lines: list[str]) -> bool:
    base = _indent(lines[0])
    return (
        len(lines) > 1 and _indent(lines[1]) > base and any(_indent(line) <= base for line in lines)
    )


def _definitions(lines: list[str]) -> str:
    base = _indent(lines[0])
    parts: list[str] = []
    body: list[str] = []

    for line in [*lines, ""]:
        if _indent(line) > base:
            body.append(line.strip())
            continue
        if body:
            parts.append(f"<dd>{_inline(' '.join(body))}</dd>")
            body = []
        if line.strip():
            parts.append(f"<dt>{_inline(line.strip())}</dt>")

    return f"<dl>{''.join(parts)}</dl>"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _inline(text: str) -> str:
    return _INLINE.sub(_inline_markup, html.escape(text.removesuffix("::"), quote=False))


def _inline_markup(match: re.Match[str]) -> str:
    if match["strong"]:
        return f"<strong>{match['strong']}</strong>"
    return f"<code>{match['literal'] or match['quoted'].lstrip('~')}</code>"
