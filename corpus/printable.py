"""Cleans text of strangers for people: invisible characters act on terminals and spreadsheets."""

from __future__ import annotations

# First characters of cells that spreadsheets run, full-width forms included. Source: OWASP, CSV
# Injection.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str, *, max_chars: int | None = None) -> str:
    """Put `text` on one line, with unprintable characters as escapes (`\\x1b`, `\\u202e`).

    These move the cursor, retitle the window or reorder the line. Longer texts than `max_chars` end
    in an ellipsis.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text)
    if max_chars is not None and len(text) > max_chars:
        return text[: max_chars - 1] + "…"

    return text


def spreadsheet_cell(text: str) -> str:
    """`text` with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
