"""Sizes of token files that a list may give: they bound the cost of reading."""

from __future__ import annotations

from typing import Any

import pytest

from corpus.snapshots.file_lists import FileList, TokenFile, _misplaced
from corpus.tables.record import RowGroup

# Two row groups of 3 and 1 rows of 10 tokens of two bytes, each with 4 bytes of its own before.
GROUPS: list[dict[str, Any]] = [
    {"offset": 4, "bytes": 64, "rows": 3, "values_offset": 8, "digest": ""},
    {"offset": 68, "bytes": 24, "rows": 1, "values_offset": 72, "digest": ""},
]
FILE: dict[str, Any] = {
    "batch": "b", "path": "tokens/b/train/part-00000.parquet", "rows": 4, "num_tokens": 40, "bytes": 100, "digest": "",
    "row_tokens": 10, "dtype": "uint16", "content": "", "spans_path": "spans/b/train/part-00000.parquet",
}  # fmt: skip


def reason(changes: dict[str, Any], groups: tuple[dict[str, Any], ...]) -> str | None:
    made = [RowGroup(**{**group, **change}) for group, change in zip(GROUPS, groups, strict=True)]
    file = TokenFile(**{**FILE, **changes, "row_groups": made})
    return _misplaced(FileList(batch="b", splits={"train": [file], "val": []}))


@pytest.mark.parametrize(
    ("changes", "groups", "fits"),
    [
        ({}, ({}, {}), True),
        ({"num_tokens": 41}, ({}, {}), False),
        ({"num_tokens": 0}, ({}, {}), True),
        ({"rows": 5}, ({}, {}), False),
        ({"rows": 3}, ({}, {}), False),
        ({"bytes": 92}, ({}, {}), True),
        ({"bytes": 91}, ({}, {}), False),
        ({}, ({"values_offset": 4}, {}), True),
        ({}, ({"values_offset": 3}, {}), False),
        ({}, ({"bytes": 63}, {}), False),
        ({}, ({}, {"bytes": 23}), False),
        # Compressed tokens have no place of their own.
        ({}, ({"values_offset": None, "bytes": 1}, {}), True),
        ({"dtype": "uint32"}, ({}, {}), False),
    ],
)
def test_row_groups_that_fit(
    changes: dict[str, Any], groups: tuple[dict[str, Any], ...], fits: bool
) -> None:
    found = reason(changes, groups)
    assert found is None if fits else found is not None and "row groups that do not fit" in found


def test_a_file_without_row_groups_is_not_read() -> None:
    file = TokenFile(**{**FILE, "num_tokens": 99, "row_groups": []})
    assert _misplaced(FileList(batch="b", splits={"train": [file], "val": []})) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": "c"},
        {"path": "tokens/b/val/part-00000.parquet"},
        {"path": "tokens/c/train/part-00000.parquet"},
        {"path": "tokens/b/train/../part-00000.parquet"},
        {"spans_path": "spans/b/train/part-00001.parquet"},
    ],
)
def test_names_are_derived_again(changes: dict[str, Any]) -> None:
    assert reason(changes, ({}, {})) is not None


def test_a_list_has_both_splits() -> None:
    assert _misplaced(FileList(batch="b", splits={"train": []})) is not None
    assert _misplaced(FileList(batch="../b", splits={"train": [], "val": []})) is not None
