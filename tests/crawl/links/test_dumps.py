"""From the door: dumps to links with other dumps and earlier batches beside them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
import zstandard

from corpus.storage.store import Store, open_store
from corpus.tables import external_files
from corpus.tables.commit import commit_table
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import DOCUMENTS_DROPPED, PAGES, part_of
from crawl import run
from crawl.links import dump_memory
from crawl.links import select as links
from crawl.links import steps as dumps
from crawl.links.maturity import MIN_SCORES
from crawl.outcomes import Reason
from webtext.takedown import command

PAGE: dict[str, Any] = {"status": 200, "reason": None}


@pytest.fixture
def corpus(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "corpus"))


def test_a_dump_is_compared_with_its_neighbours(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth at 3 or more would do for one dump alone; beside months with half it does not."""
    dumps = [
        _dump(
            tmp_path / f"RS_2023-0{month}", [9 if n % 10 < tenths else 1 for n in range(MIN_SCORES)]
        )
        for month, tenths in ((5, 5), (6, 5), (7, 1), (8, 6))
    ]
    assert _links(corpus, "alone", dumps[2:3]) == 0
    assert _links(corpus, "all", dumps) == 2
    error = capsys.readouterr().err
    assert "RS_2023-07" in error
    assert "the other dumps' median share is 50.0%" in error
    assert not corpus.exists("links/all/_manifest.json")
    assert _links(corpus, "all", dumps, "--allow-immature-scores") == 0
    assert not corpus.files("work/all", recursive=True)


def test_leave_to_go_on_makes_no_other_batch(
    tmp_path: Path,
    corpus: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken dump, then one read too early: each flag goes on from there, and what was whole is not read again."""
    read: list[str] = []

    def read_dump(raw: Any, *, name: str, **arguments: Any) -> Any:
        read.append(Path(name).name)
        return read_in_truth(raw, name=name, **arguments)

    read_in_truth = links.read_dump
    monkeypatch.setattr(links, "read_dump", read_dump)
    whole = _dump(tmp_path / "RS_1", [5] * 4)
    broken = _dump(tmp_path / "RS_2", [5] * 400, first_id=4)
    broken.write_bytes(broken.read_bytes()[:-9])
    early = _dump(tmp_path / "RS_3", [1] * MIN_SCORES)
    dumps = [whole, broken, early]
    assert _links(corpus, "b", dumps[:2]) == 1
    assert "RS_2: the file ends inside a zstd frame" in capsys.readouterr().err
    assert _links(corpus, "b", dumps[:2], "--allow-truncated") == 0
    assert read == ["RS_1", "RS_2", "RS_2"]
    manifest = read_manifest(corpus, "links", "b")
    assert manifest.counts.pop("dump:truncated") == 1
    assert sum(manifest.counts.values()) == manifest.details["rows_read"] < 404
    assert _links(corpus, "b", dumps[:2]) == 0
    assert "up to date" in capsys.readouterr().out

    read.clear()
    allow = ("--allow-truncated",)
    assert _links(corpus, "c", dumps, *allow) == 2
    assert "--allow-immature-scores" in capsys.readouterr().err
    assert _links(corpus, "c", dumps, *allow, "--allow-immature-scores") == 0
    assert sorted(read) == ["RS_1", "RS_2", "RS_3", "RS_3"]
    notes = {
        name: n for name, n in read_manifest(corpus, "links", "c").counts.items() if ":" in name
    }
    assert notes == {"dump:truncated": 1, "dump:immature_scores": 1}


def test_a_broken_dump_ends_a_pool_as_it_ends_one_process(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = _dump(tmp_path / "RS_x", [5] * 400)
    dump.write_bytes(dump.read_bytes()[:-9])
    for executor in ("serial", "pool"):
        assert _links(corpus, "b", [dump], "--executor", executor, "--workers", "2") == 1
        assert f"breaks at byte {dump.stat().st_size}, after" in capsys.readouterr().err


def test_a_connection_that_is_lost_is_not_the_end_of_a_dump(
    tmp_path: Path, corpus: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where dumps may break off: it is read again, and all of it."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if opened == 3 and self.tell() > 2_000:  # once for the memory, once for the fingerprint
                raise OSError("connection lost")
            return super().read(min(size or 0, 1_000))

    def open_source(path: str, option: str) -> Failing:
        nonlocal opened
        opened += 1
        return Failing(Path(path).read_bytes())

    opened = 0
    monkeypatch.setattr(dumps, "open_source", open_source)
    monkeypatch.setattr(external_files, "open_source", open_source)
    dump = _dump(tmp_path / "RS_x", [5] * 2_000)
    assert _links(corpus, "b", [dump], "--allow-truncated") == 0
    assert opened == 4
    assert read_manifest(corpus, "links", "b").counts == {"kept": 2_000}


def test_the_content_of_a_block_list_counts_not_its_name(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "hosts.txt"
    blocked.write_text("s0.test\n")
    dump = _dump(tmp_path / "RS_x", [5] * 4)
    setting = ("--set", f'crawl.links.blocked_hosts_file="{blocked}"')
    assert _links(corpus, "b", [dump], *setting) == 0
    elsewhere = tmp_path / "moved.txt"
    elsewhere.write_text("# the same\nS0.test\n")
    assert (
        _links(corpus, "b", [dump], "--set", f'crawl.links.blocked_hosts_file="{elsewhere}"') == 0
    )
    assert "up to date" in capsys.readouterr().out
    blocked.write_text("s1.test\ns0.test\n")
    assert _links(corpus, "b", [dump], *setting) == 2
    assert "link rules webtext changed since" in capsys.readouterr().err
    assert _links(corpus, "b", [dump], *setting, "--rebuild") == 0
    assert read_manifest(corpus, "links", "b").counts == {"blocked_host": 2, "kept": 2}


def test_a_page_is_linked_again_only_where_its_failure_may_pass_and_the_config_asks(
    tmp_path: Path, corpus: Store
) -> None:
    outcomes: list[Mapping[str, Any]] = [
        PAGE,
        {"status": None, "reason": Reason.TIMEOUT},
        {"status": 503, "reason": Reason.HTTP_STATUS},
        {"status": 404, "reason": Reason.HTTP_STATUS},
        {"status": None, "reason": Reason.ROBOTS_DISALLOWED},
        {"status": None, "reason": Reason.DEFERRED},
    ]
    first = _dump(tmp_path / "RS_1", [5] * 6)
    second = _dump(tmp_path / "RS_2", [5] * 8)
    assert _links(corpus, "first", [first]) == 0
    _fetched(corpus, "first", outcomes)
    assert _links(corpus, "plain", [second]) == 0
    assert _urls(corpus, "plain") == {_url(6), _url(7)}
    assert read_manifest(corpus, "links", "plain").counts["seen_before"] == 6

    other = open_store(f"{corpus.root}-retry")
    assert _links(other, "first", [first]) == 0
    _fetched(other, "first", outcomes)
    retry = ("--set", "crawl.links.retry_failed=true")
    assert _links(other, "retry", [second], *retry) == 0
    assert _urls(other, "retry") == {_url(1), _url(2), _url(5), _url(6), _url(7)}
    assert read_manifest(other, "links", "retry").counts["seen_before"] == 3
    _fetched(other, "retry", [PAGE] * 5)
    assert _links(other, "third", [second], *retry) == 0
    assert _urls(other, "third") == set()


def test_a_page_behind_a_wall_is_linked_again_where_the_config_asks(
    tmp_path: Path, corpus: Store
) -> None:
    """The wall stood before the client. A page that is gone, or was judged, stays seen."""
    first, second = _dump(tmp_path / "RS_1", [5] * 4), _dump(tmp_path / "RS_2", [5] * 5)
    assert _links(corpus, "first", [first]) == 0
    _fetched(corpus, "first", [PAGE] * 4)
    ids = {row["url"]: row["doc_id"] for row in read_table(corpus, "links", "first").to_pylist()}
    reasons = ["bot_wall", "consent_wall", "soft_404", "too_short"]
    rows = [
        {"doc_id": ids[_url(n)], "url": _url(n), "step": "x", "reason": reason}
        for n, reason in enumerate(reasons)
    ]
    rows.sort(key=lambda row: row["doc_id"])
    table = pa.Table.from_pylist(rows, DOCUMENTS_DROPPED.schema)
    part = write_part(
        corpus, DOCUMENTS_DROPPED.folder("first"), "part-00000.parquet", DOCUMENTS_DROPPED, [table]
    )
    commit_table(
        corpus,
        DOCUMENTS_DROPPED,
        "first",
        parts=[part],
        inputs=[],
        config={},
        counts={},
        wall_s=0.0,
    )

    assert _links(corpus, "retry", [second], "--set", "crawl.links.retry_failed=true") == 0
    assert _urls(corpus, "retry") == {_url(0), _url(1), _url(4)}
    given = [
        each for each in read_manifest(corpus, "links", "retry").inputs if each.table == "walls"
    ]
    assert [each.batch for each in given] == ["first"]
    assert _links(corpus, "plain", [second]) == 0
    assert _urls(corpus, "plain") == set()


def test_deferred_pages_are_carried_over_until_a_batch_has_them(
    tmp_path: Path, corpus: Store
) -> None:
    """By id, for any number of parts, under the rules of the new batch; a take-down holds."""
    deferred: Mapping[str, Any] = {"status": None, "reason": Reason.DEFERRED}
    carry = ("--set", "crawl.links.carry_over=true")
    first = _dump(tmp_path / "RS_1", [5] * 9)
    assert _links(corpus, "first", [first], "--set", "crawl.links.num_parts=3") == 0
    _fetched(corpus, "first", [PAGE, *[deferred] * 7, PAGE])
    taken = ["--corpus", corpus.root, "--url", _url(7), "--why", "a test", "--yes"]
    assert command.main(taken) == 0
    blocked = tmp_path / "hosts"
    blocked.write_text("s1.test\n")

    other = _dump(tmp_path / "RS_2", [0, 0, 9, 0], first_id=100)
    rules = ("--set", f"crawl.links.blocked_hosts_file={blocked}")
    parts = ("--set", "crawl.links.num_parts=5")
    assert _links(corpus, "second", [other], *carry, *rules, *parts) == 0
    assert _urls(corpus, "second") == {_url(n) for n in range(2, 7)}
    rows = {row["url"]: row for row in read_table(corpus, "links", "second").to_pylist()}
    posted = [rows[_url(n)]["num_submissions"] for n in range(2, 7)]
    assert posted == [2, 1, 1, 1, 1], "a new submission of a carried page is added to its row"
    assert (rows[_url(2)]["score"], rows[_url(2)]["score_sum"]) == (9, 14)
    manifest = read_manifest(corpus, "links", "second")
    assert manifest.counts == {
        "blocked_host": 1, "low_karma": 3, "kept": 6, "carried:submissions": 6,
    }  # fmt: skip
    assert manifest.details["rows_read"] == 4

    _fetched(corpus, "second", [deferred, *[PAGE] * 4])
    assert _links(corpus, "third", [other], *carry) == 0
    assert _urls(corpus, "third") == {_url(1), _url(2)}, "what a batch has taken is not carried"


def test_counters_add_up_to_the_rows_when_pages_were_seen_before(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier batch has, or a take-down forbids, takes all of its submissions along."""
    dumps = [_dump(tmp_path / f"RS_{n}", [5] * n, first_id=n * 100) for n in (2, 4, 6)]
    assert _links(corpus, "first", dumps[:1]) == 0
    words = ["--url", _url(3), "--why", "a test", "--yes", "--in-advance"]
    assert command.main(["--corpus", corpus.root, *words]) == 0
    assert _links(corpus, "second", dumps) == 0
    assert _links(corpus, "second", dumps[::-1]) == 0
    assert "up to date" in capsys.readouterr().out, "the order of dumps makes no other batch"
    assert _links(corpus, "second", dumps) == 0
    assert "of 12 submissions" in capsys.readouterr().out
    manifest = read_manifest(corpus, "links", "second")
    assert manifest.counts == {"kept": 4, "seen_before": 6, "taken_down": 2}
    assert sum(manifest.counts.values()) == manifest.details["rows_read"] == 12
    assert _urls(corpus, "second") == {_url(2), _url(4), _url(5)}


def test_the_plan_and_the_comparison_are_printed_whether_links_are_new_or_not(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = _dump(tmp_path / "RS_x", [5] * 4)
    (tmp_path / "list.txt").write_text("30 s0\n10 elsewhere\n")
    asked = ("--plan", "--compare-domains", str(tmp_path / "list.txt"))
    printed = []
    for named in ([dump], [dump], []):
        assert _links(corpus, "b", named, *asked) == 0
        out = capsys.readouterr().out
        assert "4 links on 4 registered domains\nat least 1 s" in out
        assert (
            "1 of the 2 listed domains have links here; they carry 75.0% of the list's counts"
            in out
        )
        assert "largest without a link: elsewhere" in out
        printed.append("up to date" in out)
    assert printed == [False, True, True]
    assert _links(corpus, "b", [], "--compare-domains", str(tmp_path / "none")) == 2


def test_a_dump_beyond_the_memory_is_refused_before_work(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = _dump(tmp_path / "RS_x", [5] * 4, window_log=31)
    assert _links(corpus, "b", [dump], "--set", f"crawl.reading.memory_bytes={1 << 31}") == 2
    error = capsys.readouterr().err
    assert "reading it takes 2,304 MiB of memory, the limit is 2,048 MiB" in error
    assert f"crawl.reading.memory_bytes={(1 << 31) + (1 << 28)}" in error
    assert _links(corpus, "b", [dump], "--set", f"crawl.reading.memory_bytes={9 << 28}") == 0
    assert _links(corpus, "b", [dump], "--set", f"crawl.reading.memory_bytes={10 << 28}") == 0
    assert "up to date" in capsys.readouterr().out, "the limit is no part of what was made"


def test_a_later_part_of_a_dump_beyond_the_memory_is_refused_where_it_begins(
    tmp_path: Path, corpus: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two dumps in one file: only the first window is known before work."""
    dump, later = (
        _dump(tmp_path / "RS_x", [5] * 4),
        _dump(tmp_path / "later", [5] * 8, window_log=29),
    )
    dump.write_bytes(dump.read_bytes() + later.read_bytes())
    assert _links(corpus, "b", [dump], "--set", f"crawl.reading.memory_bytes={2 << 28}") == 2
    error = capsys.readouterr().err
    assert f"--dumps {dump}: reading it takes 768 MiB of memory, the limit is 512 MiB" in error
    assert not corpus.exists("links/b/_manifest.json")
    assert _links(corpus, "b", [dump], "--set", f"crawl.reading.memory_bytes={3 << 28}") == 0
    assert read_manifest(corpus, "links", "b").counts == {"kept": 8, "repeated_submission": 4}


def _links(corpus: Store, batch: str, dumps: Sequence[Path | str], *extra: str) -> int:
    named = ["--dumps", *map(str, dumps)] if dumps else []
    return run.main(
        [
            "--corpus",
            corpus.root,
            "--batch",
            batch,
            *named,
            "--only",
            "links",
            "--executor",
            "serial",
            *extra,
        ]
    )


def _url(number: int) -> str:
    return f"http://s{number}.test/page"


def _dump(path: Path, scores: list[int], first_id: int = 0, **parameters: Any) -> Path:
    rows = [
        {"id": f"a{first_id + n:x}", "url": _url(n), "score": score, "is_self": False, "over_18": False, "subreddit": "s",
         "title": "t", "created_utc": 1_400_000_000}
        for n, score in enumerate(scores)
    ]  # fmt: skip
    settings = zstandard.ZstdCompressionParameters.from_level(1, **parameters)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(compressor.compress(content) + compressor.flush())
    return path


def _urls(corpus: Store, batch: str) -> set[str]:
    return set(read_table(corpus, "links", batch, ["url"])["url"].to_pylist())


def _fetched(corpus: Store, batch: str, outcomes: list[Mapping[str, Any]]) -> None:
    """Commit `pages` as a fetch of the batch would have left them: one outcome per link, in the order of URLs."""
    links = read_table(corpus, "links", batch, ["doc_id", "url"]).sort_by("url")
    gaps = {"redirects": [], "attempts": 1, "truncated": False}
    rows = [
        {name: ({**gaps, **link, **outcome}).get(name) for name in PAGES.schema.names}
        for link, outcome in zip(links.to_pylist(), outcomes, strict=True)
    ]
    table = pa.Table.from_pylist(rows, PAGES.schema).sort_by("doc_id")
    num_parts = read_manifest(corpus, "links", batch).num_parts
    parts = part_of(table["doc_id"], num_parts)
    written = [
        write_part(
            corpus,
            PAGES.folder(batch),
            f"part-{i:05}.parquet",
            PAGES,
            [table.filter(pa.array(parts == i))],
        )
        for i in range(num_parts)
    ]
    commit_table(
        corpus,
        PAGES,
        batch,
        written,
        counts={"fetched": sum(o["reason"] is None for o in outcomes)},
    )


def test_a_dump_is_read_where_it_lies(tmp_path: Path, corpus: Store, s3_bucket: str) -> None:
    """On an object store, or as a file's URI: the same links, and no other batch."""
    dump = _dump(tmp_path / "RS_x", [5] * 40)
    bucket = s3_bucket.removeprefix("s3://")
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).upload_file(
        str(dump), bucket, "in/RS_x"
    )
    assert _links(corpus, "b", [dump]) == 0
    made = read_manifest(corpus, "links", "b")
    for uri in (f"{s3_bucket}/in/RS_x", dump.as_uri()):
        other = open_store(f"{corpus.root}-{uri[:2]}")
        assert _links(other, "b", [uri]) == 0
        there = read_manifest(other, "links", "b")
        assert (there.fingerprint, there.parts) == (made.fingerprint, made.parts)
    for absent in (
        f"{s3_bucket}/in/RS_y",
        "s3://b-nowhere/RS_x",
        "gopher://x/RS_x",
        "https://127.0.0.1:1/RS_x",
    ):
        assert _links(other, "c", [absent]) == 2


MEASURED = """
import sys
from pathlib import Path
from crawl import run
code = run.main(sys.argv[1:])
print(code, *(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("window_log", [20, 27])
def test_the_memory_of_a_reader_stays_at_the_window_and_256_mib(
    tmp_path: Path, corpus: Store, window_log: int
) -> None:
    """600,000 links, each of another page, with nothing that could be left out: the whole process stays below."""
    template = (
        '{"id":"a%x","url":"http://www.site%d.example.org/2017/12/%d/a-story-with-a-long-slug-%d.html","score":9,"title":'
        '"A title of the usual length about subject %d","is_self":false,"over_18":false,"subreddit":"news","created_utc":%d}\\n'
    )
    settings = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=window_log, enable_ldm=True
    )
    dump = tmp_path / "RS_x"
    with (
        dump.open("wb") as raw,
        zstandard.ZstdCompressor(compression_params=settings).stream_writer(raw) as out,
    ):
        for n in range(600_000):
            out.write(
                (template % (n, n % 5_003, n, n * 7_919, n * 104_729, 1_400_000_000 + n)).encode()
            )
    arguments = ["--corpus", corpus.root, "--batch", "b", "--dumps", str(dump), "--only", "links"]
    arguments += ["--executor", "serial", "--set", "crawl.links.num_parts=32"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=False
    )
    code, peak_kb = map(int, done.stdout.splitlines()[-1].split())
    assert code == 0, done.stderr
    assert peak_kb << 10 < (1 << window_log) + dump_memory.FIXED_BYTES
