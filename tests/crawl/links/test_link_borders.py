"""Borders of the rows of a dump: the fields of a link, the sampled lags, and files that are no dump."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from corpus.errors import InputError
from crawl.links.config import LinksConfig
from crawl.links.judge import SUBMISSIONS
from crawl.links.maturity import ScoreStatistics
from crawl.links.select import read_dump


def rows_of(*counts: tuple[int, str]) -> bytes:
    return b"".join((row + "\n").encode() * count for count, row in counts)


NO_OBJECT, BLANK = "<p>", " "
LINK = json.dumps(
    {"id": "a", "url": "http://a.test/", "score": 9, "created_utc": 10**9, "is_self": False}
)
COMMENT = json.dumps({"id": "a", "score": 9, "created_utc": 10**9, "is_self": False})


@pytest.mark.parametrize(
    ("dump", "refused"),
    [
        # Rows that are no objects: all but blank ones, or more than half of 100 or more.
        (rows_of((1, NO_OBJECT)), True),
        (rows_of((1, NO_OBJECT), (3, BLANK)), True),
        (rows_of((3, BLANK)), False),
        (rows_of((98, NO_OBJECT), (1, LINK)), False),
        (rows_of((99, NO_OBJECT), (1, LINK)), True),
        (rows_of((50, NO_OBJECT), (50, LINK)), False),
        (rows_of((51, NO_OBJECT), (49, LINK)), True),
        # Rows without an address: 100 of them, and no row of a submission.
        (rows_of((99, COMMENT)), False),
        (rows_of((100, COMMENT)), True),
        (rows_of((100, COMMENT), (1, LINK)), False),
    ],
)
def test_a_file_is_a_dump_up_to_a_border(dump: bytes, refused: bool) -> None:
    def read() -> None:
        list(read_dump(io.BytesIO(dump), name="x", config=LinksConfig(), counts=Counter()))

    if refused:
        with pytest.raises(InputError, match="expected a Reddit submission dump"):
            read()
    else:
        read()


@pytest.mark.parametrize(
    ("created", "kept"), [(0, False), (1, True), ((1 << 32) - 1, True), (1 << 32, False), (-1, False)]
)  # fmt: skip
def test_a_time_of_posting_is_32_bits(created: int, kept: bool) -> None:
    row = json.loads(LINK) | {"created_utc": created}
    counts: Counter[str] = Counter()
    list(
        read_dump(
            io.BytesIO(json.dumps(row).encode()), name="x", config=LinksConfig(), counts=counts
        )
    )
    assert counts == {"kept" if kept else "bad_fields": 1}


@pytest.mark.parametrize(
    ("score", "stored"), [(2, None), (3, 3), ((1 << 31) - 1, (1 << 31) - 1), (1 << 31, (1 << 31) - 1), (10**15, (1 << 31) - 1)]
)  # fmt: skip
def test_a_score_is_admitted_from_three_on_and_kept_in_32_bits(
    score: int, stored: int | None
) -> None:
    dump = json.dumps(json.loads(LINK) | {"score": score}).encode()
    found = list(read_dump(io.BytesIO(dump), name="x", config=LinksConfig(), counts=Counter()))
    assert [batch["score"].to_pylist() for batch in found] == ([] if stored is None else [[stored]])


@pytest.mark.parametrize(("length", "kept"), [(4095, True), (4096, True), (4097, False)])
def test_a_link_has_at_most_4096_characters(length: int, kept: bool) -> None:
    url = "http://a.test/".ljust(length, "x")
    counts: Counter[str] = Counter()
    dump = json.dumps(json.loads(LINK) | {"url": url}).encode()
    list(read_dump(io.BytesIO(dump), name="x", config=LinksConfig(), counts=counts))
    assert counts == {"kept" if kept else "url_too_long": 1}


def lags_of(dump: bytes) -> Counter[int]:
    """The sampled lags of a dump's rows."""
    statistics = ScoreStatistics()
    rows = io.BytesIO(dump)
    list(read_dump(rows, name="x", config=LinksConfig(), counts=Counter(), statistics=statistics))
    return statistics.lags


def test_lags_are_sampled_from_every_sixteenth_of_the_first_rows_and_every_1024th() -> None:
    row = json.loads(LINK)
    dump = b"".join(
        json.dumps(row | {"retrieved_on": 10**9 + 3600 * number}).encode() + b"\n"
        for number in range(3 * 1024 + 1)
    )
    assert sorted(lags_of(dump)) == [*range(0, 1024, 16), 1024, 2048, 3072]


@pytest.mark.parametrize(
    ("retrieved", "counted"), [(10**9 - 1, 0), (10**9, 1), ((1 << 32) - 1, 1), (1 << 32, 0)]
)  # fmt: skip
def test_a_lag_is_of_a_retrieval_after_the_posting(retrieved: int, counted: int) -> None:
    dump = json.dumps(json.loads(LINK) | {"retrieved_on": retrieved}).encode()
    assert lags_of(dump).total() == counted


def test_every_column_of_a_link_has_a_value() -> None:
    assert [field.name for field in SUBMISSIONS if field.nullable] == []


@pytest.mark.parametrize("created", [0, -1, None, 1 << 32])
def test_a_row_without_a_time_of_posting_has_no_lag(created: int | None) -> None:
    dump = json.dumps(json.loads(LINK) | {"created_utc": created, "retrieved_on": 10**9}).encode()
    assert not lags_of(dump)
