"""Any year's types are read, by a fast decoder and by a lenient one that agree."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawl.links import submissions
from crawl.links.rows import RowBlock
from crawl.links.submissions import FullSubmission, whole_number
from tests.crawl.links import eras

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**18, 10**30), st.floats(), st.text(max_size=8),
    st.sampled_from(["true", "3", "-1", "3.7", "1e3", " 5 ", "١", "\ud800", "http://a.b/?x=1&amp;y", ""]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip
NAMES = sorted({*FullSubmission.__struct_fields__} - {"meta", "crosspost_parent_list"})
PARENTS = st.one_of(
    VALUES,
    st.lists(
        st.dictionaries(st.sampled_from(["url", "score", "over_18", "x"]), VALUES, max_size=3),
        max_size=2,
    ),
)
FIELDS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys([*NAMES, "other"], VALUES), "crosspost_parent_list": PARENTS,
                  "_meta": st.one_of(VALUES, st.fixed_dictionaries({"retrieved_2nd_on": VALUES}))},
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(FIELDS, st.booleans())
def test_the_fast_and_the_lenient_decoder_agree(fields: dict[str, Any], ascii_only: bool) -> None:
    row = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    _check_decoders(row)


@settings(deadline=None)
@given(st.sampled_from(eras.ERAS), st.integers(0, 30), st.data())
def test_the_decoders_agree_on_mutated_rows(era: eras.Era, seed: int, data: st.DataObject) -> None:
    row = bytearray(data.draw(st.sampled_from(_lines(era, seed % 3))))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(row)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and place < len(row):
            row[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del row[place : place + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            row[place:place] = data.draw(
                st.sampled_from([b'"', b"{", b"}", b",", b"\\", b"\xff", b"\x00", b'"score":9,'])
            )
        else:
            row[place:place] = row[place : place + data.draw(st.integers(1, 60))]
    _check_decoders(bytes(row))


@cache
def _lines(era: eras.Era, seed: int) -> list[bytes]:
    return eras.dump(era, seed, 60).lines


LINES = st.lists(
    st.sampled_from(
        [b'{"id":"a"}', b'{"id":"b","media":{}}', b'{"id":"c"} {"id":"d"}', b'{"id":"e"}{"id":"f"}', b'{"id":"g",', b'"h":1}',
         b"{", b"}", b"", b" ", b"[]", b'{"id":"i"}\r', b' {"id":"j"}', b'{"id":7}', b'{"x":[{}', b"{}]}", b"{}", b'{"x":"']
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(deadline=None, max_examples=250)
@given(LINES)
@example([b'{"id":"c"} {"id":"d"}', b"", b"{}"])
@example([b'{"id":"e"}{"id":"f"}', b'{"id":', b'"a"}'])
def test_a_block_is_decoded_as_its_rows(lines: list[bytes]) -> None:
    """Two values on a line and none on another: counting values is not enough to know whose they are."""
    block = RowBlock(b"\n".join(lines))
    assert block.rows() == lines == [block.row(index) for index in range(block.num_rows)]
    assert repr(submissions.decode_block(block)) == repr(
        [submissions.decode(line) for line in lines]
    )


def test_whole_blocks_are_decoded_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        line for line in eras.dump(eras.ERAS[7], 1, 300).lines if submissions.decode_fully(line)
    ]
    lines = [line for line in lines if line.startswith(b"{") and b'"score":[' not in line]
    expected = [repr(submissions.decode(line)) for line in lines]
    monkeypatch.setattr(submissions, "decode", None)
    assert [
        repr(found) for found in submissions.decode_block(RowBlock(b"\n".join(lines)))
    ] == expected


def _check_decoders(row: bytes) -> None:
    lenient = submissions.decode_leniently(row)
    assert _comparable(submissions.decode_fully(row)) == _comparable(lenient)
    try:
        strict = submissions.decode_strictly(row)
    except submissions.DECODE_ERRORS:
        return
    assert lenient is not None
    for name in strict.__struct_fields__:
        assert repr(getattr(strict, name)) == repr(getattr(lenient, name)), name


def _comparable(submission: FullSubmission | None) -> str:
    return repr(submission)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (-1, -1), ("3", 3), ("3.9", 3), (3.0, 3), (" 7 ", 7), (None, None), ("", None), ("x", None),
     (float("nan"), None), (float("inf"), None), ("1e400", None), (1706745600.0, 1706745600)],
)  # fmt: skip
def test_numbers_of_every_year(value: submissions.Number, number: int | None) -> None:
    assert whole_number(value) == number


def test_a_broken_character_costs_itself() -> None:
    for row in (b'{"id":"a","title":"x\xffy"}', b'{"id":"a","title":"x\\ud800y"}'):
        submission = submissions.decode_fully(row)
        assert submission is not None
        assert (submission.id, submission.title) == ("a", "x\ufffdy")
