"""Every row has one disposition, whatever its year, container or damage; groups do not depend on order."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from corpus.config import load_config
from corpus.errors import ConfigError, InputError
from corpus.tables.schemas import LINKS
from crawl.links import select, submissions
from crawl.links.config import LinksConfig
from crawl.links.containers import READ_BYTES
from crawl.links.group import group
from crawl.links.judge import SUBMISSIONS, Judge, LinkSubmission, unescaped
from crawl.links.maturity import ImmatureScoresError, ScoreStatistics
from crawl.links.rows import RowBlock, TruncatedDump
from crawl.links.select import read_dump
from crawl.rules import Disposition
from tests.crawl.links import eras

WEBTEXT = LinksConfig()
SUMMED = LinksConfig(karma_rule="openwebtext2")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LinksConfig:
    path = tmp_path_factory.mktemp("lists") / "subreddits.txt"
    path.write_text(f"r/{eras.BLOCKED}\n", "utf-8")
    return LinksConfig(blocked_subreddits_file=str(path))


# --- dispositions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", eras.ERAS, ids=lambda era: era.name)
def test_planted_counts_of_every_era(era: eras.Era, config: LinksConfig) -> None:
    dump = eras.dump(era, 1, 1_200)
    statistics = ScoreStatistics()
    table, counts = _read(dump.content, config, statistics)
    assert counts == dump.dispositions
    assert statistics.median_lag_hours == (era.lag_s // 3_600 if era.retrieved else None)
    pages, moved = group(table, config)
    assert not moved
    found = {row["url_key"]: row for row in pages.to_pylist()}
    assert set(found) == set(dump.pages)
    for key, page in dump.pages.items():
        row = found[key]
        assert (row["score"], row["score_sum"], row["num_submissions"]) == (
            page.score,
            page.score_sum,
            page.num_submissions,
        )


NEAREST_STATISTICS = {
    "2005-07": "2005-08",
    "2020-06": "2021-06",
    "2022-08": "2023-03",
    "2026-01": "2025-06",
}


@pytest.mark.parametrize("era", eras.ERAS, ids=lambda era: era.name)
def test_eras_have_the_fields_of_their_month(era: eras.Era, shared: Path) -> None:
    """Of the fields that the reader knows, those and the types that the public statistics of the month have."""
    month = NEAREST_STATISTICS.get(era.month, era.month)
    with zstandard.open(shared / "reddit" / "schemas" / f"RS_{month}.json.zst", "rt") as stream:
        schema = json.load(stream)[0]["schema"]
    known = set(submissions.FullSubmission.__struct_encode_fields__) - {
        "promoted"
    }  # 2009 has a handful of them
    rows = [
        json.loads(line)
        for line in eras.dump(era, 1, 600).lines
        if submissions.decode(line) is not None
    ]
    assert {name for row in rows for name in row} & known == set(schema) & known
    if era.created_type is not float:  # those are in the re-releases of 2024
        names = {int: "int", str: "string"}
        assert names[era.created_type] in {each["type"] for each in schema["created_utc"]}


@pytest.mark.parametrize("era", eras.ERAS[::4], ids=lambda era: era.name)
def test_the_same_rows_in_any_container_and_any_pieces_give_the_same_table(
    era: eras.Era, config: LinksConfig
) -> None:
    content = eras.dump(era, 2, 200).content
    expected = _read(content, config)
    packers: list[Callable[[bytes], bytes]] = [
        bz2.compress, gzip.compress, lzma.compress, zstandard.compress,
        lambda c: zstandard.compress(c[:9_999]) + zstandard.compress(c[9_999:]),
    ]  # fmt: skip
    for pack in packers:
        for read_bytes in (777, READ_BYTES):
            assert _read(pack(content), config, read_bytes=read_bytes) == expected


def test_batches_and_counts_go_together(
    config: LinksConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller may take the counts at every batch: those rows are in it or before it."""
    monkeypatch.setattr(select, "BATCH_ROWS", 10)
    dump = eras.dump(eras.ERAS[0], 5, 2_000)
    whole, _ = _read(dump.content, config)
    taken: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    rows, num_batches, reported = 0, 0, 0

    def report(num: int) -> None:
        nonlocal reported
        reported += num

    batches = []
    for batch in read_dump(
        io.BytesIO(dump.content), name="x", config=config, counts=counts, on_progress=report
    ):
        rows, num_batches = rows + batch.num_rows, num_batches + 1
        taken.update(counts)
        counts.clear()
        batches.append(batch)
        assert taken["kept"] == rows
    taken.update(counts)
    assert taken == dump.dispositions
    assert num_batches > 5
    assert reported == len(dump.lines)
    assert pa.Table.from_batches(batches, SUBMISSIONS).equals(whole)


def test_the_fast_reader_agrees_with_a_slow_one(config: LinksConfig) -> None:
    """Mutated rows of every era: same dispositions and links as by the standard library's parser, row by row."""
    rng = random.Random(11)
    lines = [line for era in eras.ERAS for line in eras.dump(era, 4, 150).lines]
    mutated = [_mutated(line, rng) for line in lines for _ in range(3)]
    judge, found = Judge(config), []
    dispositions: Counter[str] = Counter()
    for start in range(0, len(mutated), 3):  # small blocks, so that many are whole
        block = RowBlock(b"\n".join(mutated[start : start + 3]))
        dispositions.update(judge.block(block, start, found, ScoreStatistics()))
    slow_dispositions: Counter[str] = Counter()
    slow_found = []
    for row in mutated:
        outcome = _slow_outcome(row, judge)
        slow_dispositions[outcome.value if isinstance(outcome, Disposition) else "kept"] += 1
        if isinstance(outcome, LinkSubmission):
            slow_found.append(outcome)
    assert dispositions == slow_dispositions
    assert found == slow_found
    assert dispositions.total() == len(mutated)
    assert dispositions["bad_json"] > 100
    assert dispositions["kept"] > 100


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(20))
def test_no_mutated_dump_crashes_the_reader_or_loses_a_row(seed: int, config: LinksConfig) -> None:
    """Damaged rows of every era, in whole dumps: as many dispositions as lines."""
    rng = random.Random(seed)
    lines = [
        _mutated(line, rng)
        for era in eras.ERAS
        for line in eras.dump(era, seed, 1_500).lines
        for _ in "12"
    ]
    rng.shuffle(lines)
    allowed = config.model_copy(update={"allow_immature_scores": True})
    table, counts = _read(zstandard.compress(b"\n".join([*lines, b"{}"])), allowed)
    assert counts.total() == len(lines) + 1
    assert counts["kept"] == table.num_rows > 1_000
    assert counts["bad_json"] > 1_000


def _slow_outcome(row: bytes, judge: Judge) -> LinkSubmission | Disposition:
    submission = submissions.decode_leniently(row)
    if submission is None:
        return Disposition.BAD_JSON if row.strip() else Disposition.BLANK
    outcome = judge.judge(submission)
    assert outcome is not None
    return outcome


def _mutated(line: bytes, rng: random.Random) -> bytes:
    row = bytearray(line)
    for _ in range(rng.choice((0, 1, 1, 2))):
        place = rng.randrange(len(row) + 1)
        match rng.randrange(5):
            case 0 if place < len(row):
                row[place] = rng.randrange(256)
            case 1:
                del row[place : place + rng.randrange(1, 30)]
            case 2:
                row[place:place] = rng.choice(
                    (b'"', b"{}", b"\\", b"\xff", b",", b"\\ud800", b'","is_self":true,"x":"')
                )
            case 3:
                row[place:place] = row[place : place + rng.randrange(1, 80)]
            case _:
                at = bytes(row).find(
                    rng.choice((b'"score"', b'"url"', b'"is_self"', b'"id"', b'"created_utc"'))
                )
                row[at : at + 3] = b'"zz'
    return bytes(row.replace(b"\n", b" "))


ROW: dict[str, Any] = {
    "id": "abc", "url": "http://example.org/a", "score": 5, "is_self": False, "over_18": False, "subreddit": "news",
    "title": "A title", "created_utc": 1_400_000_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "disposition"),
    [
        ({}, "kept"),
        ({"score": 3}, "kept"),
        ({"score": 2}, "low_karma"),
        ({"score": "3"}, "kept"),
        ({"score": 2.9}, "low_karma"),
        ({"score": None}, "no_score"),
        ({"score": True}, "no_score"),
        ({"created_utc": "1400000000"}, "kept"),
        ({"created_utc": 1_400_000_000.0}, "kept"),
        ({"created_utc": None}, "bad_fields"),
        ({"id": None}, "bad_fields"),
        ({"id": None, "name": "t3_abc"}, "kept"),
        ({"is_self": True}, "self_post"),
        ({"is_self": None, "domain": "self.news"}, "self_post"),
        ({"is_self": None, "domain": "example.org"}, "kept"),
        ({"promoted": True, "is_self": True}, "promoted"),
        ({"promoted": False}, "kept"),
        ({"promoted": False, "is_created_from_ads_ui": True}, "promoted"),
        ({"over_18": True}, "over_18"),
        ({"removed_by_category": "moderator"}, "kept"),
        ({"url": None}, "no_url"),
        ({"url": ""}, "no_url"),
        ({"url": None, "is_gallery": True}, "internal"),
        ({"url": None, "url_overridden_by_dest": "http://example.org/b"}, "kept"),
        ({"url": "/r/news/comments/1/", "url_overridden_by_dest": "http://example.org/b"}, "kept"),
        ({"url": "/r/news/comments/1/"}, "internal"),
        ({"url": "https://www.reddit.com/gallery/1"}, "internal"),
        ({"url": "https://out.reddit.com/t3_1?url=http%3A%2F%2Fexample.org%2Fb"}, "kept"),
        ({"url": "https://out.reddit.com/t3_1?url=http%3A%2F%2Fimgur.com%2Fb"}, "media_host"),
        ({"url": "http://example.org/a.pdf#page=2"}, "file_type"),
        ({"url": "http://example.org/?x=a.pdf"}, "kept"),
        ({"url": "https://character.ai"}, "kept"),
        ({"url": "http://example.org/" + "a" * 4_100}, "url_too_long"),
        ({"url": "http://de.wikipedia.org/wiki/A"}, "wikipedia"),
        ({"url": "http://exa mple.org/"}, "bad_url"),
        ({"url": "data:text/html,x"}, "not_http"),
        ({"score": 0, "crosspost_parent_list": [{"score": 9, "url": "http://example.org/p"}]}, "kept"),
        ({"score": 0, "crosspost_parent_list": [{"score": 9, "over_18": True}]}, "over_18"),
        ({"score": 9, "crosspost_parent_list": [{"score": 2, "over_18": True}]}, "over_18"),
        ({"score": 0, "crosspost_parent_list": [{"score": 2}]}, "low_karma"),
        ({"url": None, "crosspost_parent_list": [{"score": 2, "url": "http://example.org/p"}]}, "kept"),
        ({"subreddit": None, "title": None}, "kept"),
        ({"media": {"score": 0, "is_self": True, "promoted": True}}, "kept"),
    ],
)  # fmt: skip
def test_the_disposition_of_a_row(fields: dict[str, Any], disposition: str) -> None:
    table, counts = _read(_line(fields), WEBTEXT)
    assert counts == {disposition: 1}
    assert table.num_rows == (disposition == "kept")


def test_what_a_link_holds() -> None:
    table, _ = _read(
        _line(
            {
                "url": "HTTP://www.Example.org:80/a/?b=1&amp;a=2#c",
                "title": "Cats &amp; &lt;dogs&gt;",
            }
        ),
        WEBTEXT,
    )
    row = table.to_pylist()[0]
    created = row.pop("created")
    assert created.timestamp() == 1_400_000_000
    assert row == {
        "doc_id": row["doc_id"],
        "url": "http://www.example.org/a/?b=1&a=2",
        "url_key": "example.org/a?a=2&b=1",
        "domain": "example.org",
        "score": 5,
        "submission_id": "abc",
        "subreddit": "news",
        "title": "Cats & <dogs>",
        "over_18": False,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.b/?a=1&amp;b=2", "http://a.b/?a=1&b=2"),
        (
            "http://a.b/?a=1&copy=2&section=3&region=4&currency=5",
            "http://a.b/?a=1&copy=2&section=3&region=4&currency=5",
        ),
        ("http://a.b/?a=1&amp=2&lt=3", "http://a.b/?a=1&amp=2&lt=3"),
        ("&amp;lt; &lt;b&gt; &quot; &#39;", "&lt; <b> &quot; &#39;"),
    ],
)
def test_only_three_escapes_are_decoded(text: str, expected: str) -> None:
    assert unescaped(text) == expected


@pytest.mark.parametrize(
    ("settings", "fields", "disposition"),
    [
        ({"min_score": 10}, {"score": 9}, "low_karma"),
        ({"min_score": 0}, {"score": 0}, "kept"),
        ({"over_18": "keep"}, {"over_18": True}, "kept"),
        ({"removed": "drop"}, {"removed_by_category": "moderator"}, "removed"),
        ({"removed": "drop"}, {}, "kept"),
        ({"karma_rule": "openwebtext2"}, {"score": 0}, "kept"),
        ({"karma_rule": "openwebtext2"}, {"score": None}, "no_score"),
        (
            {"crosspost_score": "own"},
            {"score": 0, "crosspost_parent_list": [{"score": 9}]},
            "low_karma",
        ),
        ({"preset": "openwebtext"}, {"url": "http://github.com/a"}, "blocked_host"),
        ({"preset": "openwebtext2"}, {"url": "http://example.org/a.csv"}, "file_type"),
        ({"max_url_chars": 64}, {"url": "http://example.org/" + "a" * 50}, "url_too_long"),
    ],
)
def test_settings_change_dispositions(
    settings: dict[str, Any], fields: dict[str, Any], disposition: str
) -> None:
    assert _read(_line(fields), LinksConfig(**settings))[1] == {disposition: 1}


def test_bad_settings_are_refused() -> None:
    for assignment in (
        "crawl.min_score=-1",
        'crawl.preset="webtxt"',
        'crawl.over_18="maybe"',
        "crawl.minscore=3",
    ):
        with pytest.raises(ConfigError, match="crawl.min|crawl.preset|crawl.over_18"):
            load_config(LinksConfig, "crawl", sets=[assignment])


def test_a_row_beyond_the_limit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawl.links.rows.MAX_ROW_BYTES", 300_000)
    content = _line({}) + _line({"selftext": "x" * 400_000}) + _line({"id": "b"})
    for packed in (content, zstandard.compress(content)):
        assert _read(packed, WEBTEXT)[1] == {"kept": 2, "row_too_long": 1}


# --- dumps that are not what they should be ------------------------------------------------------------------------


def test_a_truncated_dump_gives_its_rows_then_fails(
    config: LinksConfig, caplog: pytest.LogCaptureFixture
) -> None:
    dump = eras.dump(eras.ERAS[0], 6, 800)
    packed = zstandard.compress(dump.content)[:-3_000]
    counts: Counter[str] = Counter()
    batches = []
    with pytest.raises(
        TruncatedDump, match=f"RS_x.*byte {len(packed)}|byte {len(packed)}.*RS_x"
    ) as caught:
        for batch in read_dump(io.BytesIO(packed), name="RS_x", config=config, counts=counts):
            batches.append(batch)
    assert counts.total() == caught.value.row_number > 0
    assert sum(batch.num_rows for batch in batches) == counts["kept"]
    allowed = config.model_copy(update={"allow_truncated": True})
    with caplog.at_level("WARNING"):
        table, allowed_counts = _read(packed, allowed)
    assert allowed_counts == counts
    assert table.num_rows == counts["kept"]
    assert "before byte" in caplog.text


def test_immature_scores_stop_the_run(config: LinksConfig) -> None:
    dump = eras.dump(eras.IMMATURE, 1, 1_200)
    with pytest.raises(ImmatureScoresError, match="--allow-immature-scores"):
        _read(dump.content, config)
    statistics = ScoreStatistics()
    counts: Counter[str] = Counter()
    allowed = config.model_copy(update={"allow_immature_scores": True})
    list(
        read_dump(
            io.BytesIO(dump.content), name="x", config=allowed, counts=counts, statistics=statistics
        )
    )
    assert counts == dump.dispositions
    assert statistics.median_lag_hours == 0
    assert statistics.median_score <= 1


def test_another_kind_of_file_is_refused(config: LinksConfig) -> None:
    with pytest.raises(InputError, match="no JSON objects"):
        _read(b"<html>\n" * 200, config)
    with pytest.raises(InputError, match="3 of 4 rows are no JSON objects"):
        _read(b"<html>\n\n<p>404\n</html>\n", config)
    with pytest.raises(InputError, match="not a dump"):
        _read(b"PK\x03\x04\x00", config)
    assert _read(b"<html>\n" + _line({}), config)[1] == {"bad_json": 1, "kept": 1}
    comments = [
        {"id": f"c{n}", "body": "I agree", "link_id": "t3_a", "score": n % 5, "subreddit": "news", "created_utc": n + 1}
        for n in range(300)
    ]  # fmt: skip
    with pytest.raises(InputError, match="not one of comments"):
        _read(b"\n".join(json.dumps(comment).encode() for comment in comments), config)


def test_an_empty_dump_has_no_links() -> None:
    for content in (b"", zstandard.compress(b"")):
        table, counts = _read(content, WEBTEXT)
        assert (table.num_rows, counts.total()) == (0, 0)
        pages, moved = group(table, WEBTEXT)
        assert (pages.num_rows, pages.schema, moved.total()) == (0, LINKS.schema, 0)


def test_whole_months_of_2005(shared: Path) -> None:
    for month, rows, admitted in (("06", 103, 83), ("07", 1_079, 757)):
        content = (shared / "reddit" / f"RS_v2_2005-{month}.jsonl.zst").read_bytes()
        table, counts = _read(content, WEBTEXT)
        assert counts.total() == rows
        assert rows - counts["low_karma"] == admitted
        assert counts["kept"] == table.num_rows >= 0.98 * admitted
        assert not any("&amp;" in url for url in table["url"].to_pylist())


def test_single_rows_of_later_years(shared: Path) -> None:
    content = (shared / "reddit" / "RS_mixed_years_2005-2024.jsonl.zst").read_bytes()
    table, counts = _read(content, LinksConfig(min_score=0))
    assert counts["self_post"] == 10
    assert counts["kept"] + counts["internal"] == 14
    assert min(table["created"].to_pylist()).year == 2005


# --- groups --------------------------------------------------------------------------------------------------------

LINK_ROWS = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 9), st.sampled_from(["1", "9", "z", "10", "zz", "1a"]), st.integers(1, 3),
        st.sampled_from("xy"), st.booleans(),
    ).map(
        lambda row: LinkSubmission(
            f"{row[0]:032x}", f"http://e.org/{row[0]}{row[4]}", f"e.org/{row[0]}", "e.org", row[1], row[2], row[4], row[4],
            row[3], row[5],
        )
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(LINK_ROWS, st.randoms(use_true_random=False), st.sampled_from([WEBTEXT, SUMMED]))
def test_groups_are_those_of_a_naive_rule(
    rows: list[LinkSubmission], rng: random.Random, config: LinksConfig
) -> None:
    expected, expected_counts = _naive(rows, config)
    shuffled = rows[:]
    rng.shuffle(shuffled)
    for order in (rows, shuffled):
        pages, counts = group(_table(order), config)
        assert pages.schema == LINKS.schema
        assert pages.to_pylist() == expected
        assert +counts == +expected_counts
        assert counts.total() == 0


def _naive(
    rows: Sequence[LinkSubmission], config: LinksConfig
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Pages by dictionaries and sorting."""
    pages: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for doc_id in sorted({row.doc_id for row in rows}):
        mine = sorted(
            (row for row in rows if row.doc_id == doc_id),
            key=lambda r: (
                -r.score,
                r.created,
                len(r.submission_id),
                r.submission_id,
                r.url,
                r.subreddit,
                r.title,
            ),
        )
        by_id: dict[str, int] = {}
        for row in mine:
            by_id[row.submission_id] = max(by_id.get(row.submission_id, 0), row.score)
        counts["repeated_submission"] += len(mine) - len(by_id)
        counts["kept"] -= len(mine) - len(by_id)
        if config.karma_rule == "openwebtext2" and sum(by_id.values()) < config.min_score:
            counts["low_karma"] += len(by_id)
            counts["kept"] -= len(by_id)
            continue
        best = _table(mine[:1]).to_pylist()[0]
        totals = {
            "score_sum": sum(by_id.values()),
            "num_submissions": len(by_id),
            "over_18": any(r.over_18 for r in mine),
        }
        pages.append({name: {**best, **totals}[name] for name in LINKS.schema.names})
    return pages, counts


@settings(max_examples=60, deadline=None)
@given(LINK_ROWS, LINK_ROWS)
def test_submissions_of_two_batches_make_the_rows_of_one(
    first: list[LinkSubmission], second: list[LinkSubmission]
) -> None:
    """A page that is carried over has what it had, and what is new besides."""
    second = [msgspec.structs.replace(row, submission_id=f"n{row.submission_id}") for row in second]
    together, _ = group(_table([*first, *second]), WEBTEXT)
    carried, _ = group(_table(first), WEBTEXT)
    pages, counts = group(_table(second), WEBTEXT, carried)
    assert pages.to_pylist() == together.to_pylist()
    assert counts.total() == sum(carried["num_submissions"].to_pylist())

    again, counts = group(_table(list(map(_best, carried.to_pylist()))), WEBTEXT, carried)
    assert again.equals(carried), "a dump that is given again adds nothing"
    assert counts["repeated_submission"] == carried.num_rows


def _best(row: dict[str, Any]) -> LinkSubmission:
    """The submission that stands for a page, as its dump has it."""
    fields = {field.name: row[field.name] for field in SUBMISSIONS}
    return LinkSubmission(**fields)


def test_summed_karma_admits_what_single_karma_does_not() -> None:
    lines = b"".join(_line({"id": f"a{n}", "score": 1}) for n in range(3))
    table, counts = _read(lines, SUMMED)
    pages, moved = group(table, SUMMED)
    assert (counts["kept"], pages["score_sum"].to_pylist(), moved.total()) == (3, [3], 0)
    assert _read(lines, WEBTEXT)[1] == {"low_karma": 3}


def test_a_submission_in_two_dumps_counts_once_with_the_later_score() -> None:
    table, _ = _read(
        _line({"score": 4}) + _line({"score": 90}) + _line({"id": "b", "score": 6}), WEBTEXT
    )
    pages, moved = group(table, WEBTEXT)
    row = pages.to_pylist()[0]
    assert (row["score"], row["score_sum"], row["num_submissions"]) == (90, 96, 2)
    assert moved == {"repeated_submission": 1, "kept": -1}


def test_of_equals_the_earliest_then_the_smallest_id_speaks_for_the_page() -> None:
    """Ids are numbers in base 36: `z` comes before `10`."""
    for first, other in (
        ({"id": "10"}, {"id": "z"}),
        ({"id": "b"}, {"id": "a"}),
        ({"id": "a"}, {"created_utc": 1}),
    ):
        lines = _line(first), _line({"id": "zz"} | other)
        for content in (lines[0] + lines[1], lines[1] + lines[0]):
            pages, _ = group(_read(content, WEBTEXT)[0], WEBTEXT)
            expected = json.loads(lines[1])
            row = pages.to_pylist()[0]
            assert (row["submission_id"], row["created"].timestamp()) == (
                expected["id"],
                expected["created_utc"],
            )


def _table(rows: Iterable[LinkSubmission]) -> pa.Table:
    columns = list(zip(*map(astuple, rows), strict=True)) or [[] for _ in SUBMISSIONS]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, SUBMISSIONS, strict=True)], schema=SUBMISSIONS
    )


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(ROW | fields, separators=(",", ":")).encode() + b"\n"


def _read(
    content: bytes,
    config: LinksConfig,
    statistics: ScoreStatistics | None = None,
    read_bytes: int = READ_BYTES,
) -> tuple[pa.Table, Counter[str]]:
    counts: Counter[str] = Counter()
    batches = list(
        read_dump(
            io.BytesIO(content),
            name="RS_x",
            config=config,
            counts=counts,
            statistics=statistics,
            read_bytes=read_bytes,
        )
    )
    return pa.Table.from_batches(batches, SUBMISSIONS), counts
