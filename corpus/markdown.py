"""Markdown of the cards of data sets and models, safe for strangers' text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from corpus.printable import printable


def front_matter(record: Mapping[str, Any]) -> str:
    """The metadata that a hub reads above a README: YAML, one key a line."""
    # JSON is YAML.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in record.items())
    return "\n".join(["---", *lines, "---"])


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table. Cells are domains, reasons and names of strangers, and must not leave their place."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    text = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    text.insert(1, "| " + " | ".join("---" for _ in lines[0]) + " |")
    return "\n".join(text)


def _cell(text: str) -> str:
    # A backslash before a sign would escape ours: `\\|` is a backslash and the end of the cell.
    escaped = re.sub(r"(\\*)\|", lambda found: f"{2 * found[1]}\\|", printable(str(text)))
    return escaped.replace("<", "&lt;")
