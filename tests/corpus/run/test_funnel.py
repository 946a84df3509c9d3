"""Sizes and shares of the funnel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.run import funnel
from corpus.storage.store import open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (1_000_000, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (999_960_000_000, "1.0 TB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_sizes(num_bytes: int, shown: str) -> None:
    assert funnel.size(num_bytes) == shown


def test_counts_that_are_no_rows_have_no_share(tmp_path: Path) -> None:
    """A count of everything that was read is 100 %, and one of more is a count of something else."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    part = write_part(store, "links/b", "part-00000.parquet", LINKS, [])
    counts = {"low_score": 10, "score:up": 11, "tokens:all": 5, "requests:x": 5, "note:x": 5}
    commit_table(store, LINKS, "b", [part], stage="crawl", counts=counts, details={"rows_read": 10})
    lines = [line.split() for line in funnel.render(store, "b", stage="crawl").splitlines()]
    assert lines[1][-3:] == ["of", "10", "submissions"]
    assert lines[2:] == [
        ["low_score", "10", "100.0%"],
        ["score:up", "11"],
        ["note:x", "5", "50.0%"],
        ["requests:x", "5"],
        ["tokens:all", "5"],
    ]
    assert len(funnel.render(store, "b", stage="clean").splitlines()) == 1
    # Counts end in one column, below the number of rows.
    counted = funnel.render(store, "b", stage="crawl").splitlines()[1:]
    assert {line.index(" rows") for line in counted[:1]} == {
        line.index(f"{count:>12}") + 12
        for line, count in zip(counted[1:], (10, 11, 5, 5, 5), strict=True)
    }


@pytest.mark.parametrize(
    ("table", "read", "rows", "words"),
    [
        ("links", 10, 10, "  of 10 submissions"),
        ("pages", 10, 9, "  of 10 WARC records"),
        ("pages", 10, 10, ""),
        ("pages", 0, 9, ""),
        ("documents", 10, 9, "  of 10 pages"),
        ("documents", 10, 10, ""),
        ("documents", 0, 9, ""),
        ("verdicts", 10, 9, ""),
    ],
)
def test_what_shares_are_of(table: str, read: int, rows: int, words: str) -> None:
    """It is said where it is not the number of rows."""
    manifest: Any = SimpleNamespace(table=table, counts={"a": 1}, rows=rows)
    assert funnel._read_of(manifest, read) == words


def test_links_of_an_import_have_no_submissions() -> None:
    manifest: Any = SimpleNamespace(table="links", counts={}, rows=3)
    assert funnel._read_of(manifest, 0) == ""
