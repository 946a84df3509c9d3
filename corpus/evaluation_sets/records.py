"""Records of evaluation sets to passages: nested objects, lists in strings, and tables of text.

Makers of sets name one thing in many ways ("Best Answer", `bestAnswer`, `best_answer`), nest it
(SQuAD: `paragraphs`, then `qas`; samples of a harness: `doc`), and write a list as a string.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Longer strings are texts, not lists.
MAX_LISTED_CHARS = 1 << 16
DELIMITERS = (",", ";", "\t", "|")
_COLUMN_NAME = re.compile(r"[A-Za-z_][\w .-]{0,40}|")
# Scripts that write without spaces.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]")


def plain_name(name: str) -> str:
    """The letters and digits of a field's name, in lower case: "Best Answer" is `best_answer`."""
    return "".join(each for each in name.lower() if each.isalnum())


def is_long(text: str, num_words: int) -> bool:
    """True for a text of at least so many words, or of twice as many characters without spaces."""
    return len(text.split()) >= num_words or len(UNSPACED.findall(text)) >= 2 * num_words


def entries_of(
    record: Mapping[str, Any], chosen: Sequence[str], *, nested: bool = True
) -> Iterator[list[str]]:
    """The passages of a record's fields in the order of `chosen`, then those of objects in its other fields.

    `chosen` are plain names. Without `nested`, objects count only in a record that has none of
    these fields itself.
    """
    by_name = {plain_name(name): value for name, value in record.items()}
    passages = [
        text for name in chosen if name in by_name for text in strings_of(by_name.get(name))
    ]
    if passages:
        yield passages
        if not nested:
            return

    taken = set(chosen)
    for name, value in record.items():
        if plain_name(name) not in taken:
            for each in _objects(value):
                yield from entries_of(each, chosen, nested=nested)


def field_names(record: Mapping[str, Any]) -> Iterator[str]:
    """The names of all fields, those of nested objects too."""
    for name, value in record.items():
        yield name
        for each in _objects(value):
            yield from field_names(each)


def strings_of(value: Any) -> Iterable[str]:
    """All strings in a value. A string that is a list or an object as code or JSON counts as that."""
    if isinstance(value, str):
        listed = _listed(value)
        if listed is None:
            yield value
        else:
            yield from strings_of(listed)
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings_of(each)


def table_rows(
    text: str, delimiter: str, known: set[str]
) -> Iterator[dict[str, str] | tuple[str, ...]]:
    """The rows of CSV or TSV: by field under a header with a known name, else all cells (MMLU's own).

    `known` are plain names. A first column of row numbers is left out where no header names it.
    """
    rows = _parsed(text, delimiter)
    if not rows:
        return

    header = [cell.strip() for cell in rows[0]]
    is_header = (
        all(_COLUMN_NAME.fullmatch(cell) for cell in header)
        and len(set(header)) == len(header)
        and any(plain_name(cell) in known and len(cell) > 1 for cell in header)
    )
    if is_header:
        for row in rows[1:]:
            yield dict(zip(header, row, strict=False))
        return

    first = 1 if _is_numbered(rows) else 0
    for row in rows:
        yield tuple(row[first:])


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects that a value is or lists."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


def _listed(text: str) -> Any:
    """The list or object that a string spells, if it has a string in it; else None."""
    body = text.strip()
    if len(body) > MAX_LISTED_CHARS or body[:1] + body[-1:] not in ("[]", "{}"):
        return None

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(body)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None

    has_text = isinstance(value, dict | list) and any(True for _ in strings_of(value))
    return value if has_text else None


def _parsed(text: str, delimiter: str) -> list[list[str]]:
    """The rows with a cell in them.

    A delimiter other than the usual one is told by the first line. TSV whose lines fit together without quoting
    has none (GLUE's: a lone quotation mark would swallow lines).
    """
    csv.field_size_limit(1 << 30)
    first_line = text[: text.find("\n") + 1] or text
    cells = {each: len(_split(first_line, each)[0]) for each in DELIMITERS if first_line.strip()}
    if cells.get(delimiter) == 1:
        delimiter = max(cells, key=lambda each: cells[each])

    quoted = _split(text, delimiter)
    if delimiter == "\t" and any("\n" in cell for row in quoted for cell in row):
        plain = _split(text, delimiter, csv.QUOTE_NONE)
        if len({len(row) for row in plain}) == 1 and len(plain[0]) > 1:
            return plain
    return quoted


def _split(text: str, delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    return [row for row in reader if row]


def _is_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """True if the first cells are distinct whole numbers and other cells follow."""
    firsts = [row[0].strip() for row in rows]
    return (
        all(cell.isdigit() for cell in firsts)
        and len(set(firsts)) == len(firsts)
        and any(len(row) > 1 for row in rows)
    )
