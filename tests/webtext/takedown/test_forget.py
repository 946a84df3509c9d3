"""Take-downs: nothing of a page is left anywhere, everything else is as it was, whatever interrupts it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.errors import InputError
from corpus.snapshots.retirement import require_usable
from corpus.snapshots.snapshot import read_snapshot, snapshots
from corpus.storage import lease
from corpus.storage.lease import hold
from corpus.storage.store import Store, open_corpus
from corpus.tables.conservation import CUT, NOT_KEPT
from corpus.tables.generations import find_file
from corpus.tables.inventory import entries
from corpus.tables.manifest import read_manifest
from corpus.tables.takedown_list import Forgotten, takedowns
from crawl.warc import records
from shards.tokenizer.encode import load_tokenizer
from tests.support import grown_corpus, hostile_corpus
from webtext.inspection import explain, explain_text, query
from webtext.reports import summary
from webtext.takedown import command as forget
from webtext.takedown import find
from webtext.verify import command as verify

TARGETS = ("kept", "copy", "short", "moved", "missing", "overlapping", "later_copy")


def id_of(fates: grown_corpus.Fates, url: str) -> str:
    found = explain.trace(fates.store, url).doc_id
    assert found is not None
    return found


def run(fates: grown_corpus.Fates, *words: str) -> int:
    return forget.main(["--corpus", fates.root, "--yes", "--why", "a test", *words])


def everything(store: Store) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path, _ in store.files("", recursive=True)}


def contents(store: Store) -> dict[str, list[bytes]]:
    """The parts of every table in order, and the WARC files."""
    found = {
        f"{table} {batch}": parts
        for batch in ("2024-01", "2024-02")
        for table, parts in grown_corpus.table_bytes(
            store, batch, *grown_corpus.TABLE_NAMES
        ).items()
    }
    for path, _ in store.files("warc", recursive=True):
        if path.endswith(".warc.gz"):
            found[path] = [store.read_bytes(path)]
    return found


def residue(store: Store, words: list[str]) -> list[str]:
    """Files outside the list of take-downs that still hold any of the words, compressed or not, as text or as tokens."""
    tokenizer = load_tokenizer(store)
    needles = [word.encode() for word in words]
    found = []
    for path, data in everything(store).items():
        if path.startswith("forgotten/"):
            continue
        if path.endswith(".parquet"):
            table = pq.read_table(store.local_path(path))
            if path.startswith("tokens/"):
                ids = np.frombuffer(b"".join(table["tokens"].to_pylist()), "<u2")
                data = tokenizer.decode_bytes(ids.tolist())
            else:
                data = json.dumps(table.to_pylist(), default=str).encode()
        elif path.endswith(".gz"):
            data = gzip.decompress(data)
        found += [path for needle in needles if needle in data]
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_of_the_page_is_left(fates_copy: grown_corpus.Fates, name: str) -> None:
    url = getattr(fates_copy, name)
    story = explain.trace(fates_copy.store, url)
    unique = [url, str(story.doc_id)]
    if story.document is not None and name in ("kept", "moved", "overlapping"):
        unique.append(story.document["text"][200:280])
    if name == "moved":
        unique += ["http://moved.test/hop", "http://moved.test/new"]
    assert run(fates_copy, "--url", url) == 0
    store = fates_copy.store
    left = [
        path
        for path in residue(store, unique)
        if not (path.startswith("verdicts") and name == "original")
    ]
    assert left == []
    assert verify.verify(store).problems == []
    told = explain.trace(store, url)
    assert told.link is None
    assert told.taken_down is not None


def test_redirects_on_other_domains_go_too(fates_copy: grown_corpus.Fates) -> None:
    """Each hop is asked, and its record kept, by the shard that owns its domain."""
    hops = [f"http://hop{n}.test/way" for n in range(2)]
    page = grown_corpus.Site(
        hops[0], grown_corpus.prose("arrived"), hops=tuple(hops), final="http://arrived.test/page"
    )
    assert len({sum(f"hop{n}.test".encode()) % grown_corpus.SHARDS for n in range(2)}) == 2
    grown_corpus.grow(
        fates_copy.root,
        "2024-03",
        [*grown_corpus.ordinary(8, 2), page],
        fates_copy.folder,
        start=2000,
    )
    assert run(fates_copy, "--url", hops[0]) == 0
    assert residue(fates_copy.store, [*hops, "http://arrived.test/page"]) == []


def test_the_rest_is_as_if_the_page_had_never_been(
    fates_copy: grown_corpus.Fates, tmp_path: Path
) -> None:
    """Tables and shards equal, byte for byte, those of a corpus grown without the page. It is nobody's original."""
    before = [(entry.table, entry.batch, entry.manifest) for entry in entries(fates_copy.store)]
    assert run(fates_copy, "--url", fates_copy.kept, "--url", fates_copy.missing) == 0
    assert {entry.state for entry in entries(fates_copy.store)} == {"ok"}, (
        "nothing made from them is stale"
    )
    for table, batch, manifest in before:
        assert manifest is not None
        assert read_manifest(fates_copy.store, table, batch).fingerprint == manifest.fingerprint
    other = open_corpus(str(tmp_path / "other"), create=True)
    for path, _ in fates_copy.store.files("forgotten"):
        other.write_bytes(path, fates_copy.store.read_bytes(path))
    grown_corpus.grow_fates(fates_copy.folder, str(tmp_path / "other"))
    same = (*(name for name in grown_corpus.TABLE_NAMES if name != "pages"), "pages")
    for batch in ("2024-01", "2024-02"):
        ours = grown_corpus.table_bytes(fates_copy.store, batch, *same)
        theirs = grown_corpus.table_bytes(other, batch, *same)
        for table in same:
            if table == "pages":
                continue  # places in the WARC files stay, in the other corpus they were never taken
            assert ours[table] == theirs[table], f"{table} {batch}"
        for table in same:
            left, right = (read_manifest(each, table, batch) for each in (fates_copy.store, other))
            assert left.rows == right.rows
            theirs_counts = {
                key: count for key, count in right.counts.items() if key != "taken_down"
            }
            if table not in ("links", "documents"):  # links counts submissions, documents its notes
                assert {k: c for k, c in left.counts.items() if c} == {
                    k: c for k, c in theirs_counts.items() if c
                }
    new = read_snapshot(fates_copy.store, "2024-02.2")
    built = read_snapshot(other, "2024-02")
    for split in ("train", "val"):
        assert [f.content for f in new.splits[split].files] == [
            f.content for f in built.splits[split].files
        ]
        assert new.splits[split].num_bytes == built.splits[split].num_bytes


def test_other_records_stay_where_they_are(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    before = grown_corpus.rows(store, "pages", "2024-01")
    gone = id_of(fates_copy, fates_copy.kept)
    assert run(fates_copy, "--url", fates_copy.kept) == 0
    after = grown_corpus.rows(store, "pages", "2024-01")
    assert after == {doc_id: row for doc_id, row in before.items() if doc_id != gone}
    for row in after.values():
        if row["warc_file"]:
            read = records.read_response(
                store, row["warc_file"], row["warc_offset"], row["warc_length"]
            )
            assert read.url == row["final_url"]
    with pytest.raises(records.WarcError):
        place = before[gone]
        records.read_response(store, place["warc_file"], place["warc_offset"], place["warc_length"])
    segment = before[gone]["warc_file"]
    warcio = pytest.importorskip("warcio")
    with open(str(store.local_path(segment)), "rb") as stream:
        urls = [
            record.rec_headers.get("WARC-Target-URI") for record in warcio.ArchiveIterator(stream)
        ]
    assert fates_copy.kept not in urls
    assert len([url for url in urls if url]) > 5, "a stranger reads the file to its end"


def test_the_list_keeps_it_out_of_later_batches(fates_copy: grown_corpus.Fates) -> None:
    assert run(fates_copy, "--url", fates_copy.kept, "--domain", "copies.test") == 0
    again = [
        grown_corpus.Site(fates_copy.kept, "x"),
        grown_corpus.Site("http://www.copies.test/another", "x"),
        grown_corpus.Site("http://fresh.test/", "x"),
    ]
    grown_corpus.link(
        fates_copy.root,
        "2024-03",
        grown_corpus.write_dump(fates_copy.folder / "RS_2024-03.zst", again, 5000),
    )
    rows = grown_corpus.rows(fates_copy.store, "links", "2024-03")
    assert [row["url"] for row in rows.values()] == ["http://fresh.test/"]
    assert read_manifest(fates_copy.store, "links", "2024-03").counts["taken_down"] == 2


def test_an_original_goes_and_its_copies_stay_out(fates_copy: grown_corpus.Fates) -> None:
    copies = [fates_copy.copy, fates_copy.near, fates_copy.later_copy]
    assert run(fates_copy, "--url", fates_copy.original, "--keep-copies") == 0
    for url in copies:
        story = explain.trace(fates_copy.store, url)
        assert story.verdict is not None
        assert not story.verdict["kept"]
        assert "a page that was taken down" in explain_text.render(story)
    assert verify.verify(fates_copy.store).problems == []


def test_a_domain_goes_with_all_that_led_into_it(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fates_copy.store
    inside = [
        row["doc_id"]
        for row in grown_corpus.rows(store, "links", "2024-01").values()
        if row["domain"] == "site1.test"
    ]
    assert (
        run(
            fates_copy,
            "--domain",
            "site1.test",
            "--url",
            "http://moved.test/new",
            "--why",
            "a request",
            "--json",
        )
        == 0
    )
    out = capsys.readouterr().out
    record = takedowns(store)[0]
    later = [row for row in record.url_keys.values() if row.startswith("site1.test/1/")]
    assert later, "of both batches"
    assert set(inside) | {id_of(fates_copy, fates_copy.moved)} <= record.url_keys.keys()
    assert "for 'a request'" in out
    assert f"removed {record.removed['warc_records']:,} warc records" in out
    rows = query.query(
        store, "SELECT count(*) AS n FROM links WHERE domain IN ('site1.test', 'moved.test')"
    ).to_pylist()
    assert rows == [{"n": 0}]


def test_a_page_of_which_passages_were_cut_is_counted_no_more(
    fates_copy: grown_corpus.Fates,
) -> None:
    def counts() -> dict[str, int]:
        return read_manifest(fates_copy.store, "verdicts", "2024-01").counts

    before, rows = counts(), grown_corpus.rows(fates_copy.store, "verdicts", "2024-01")
    assert before[CUT] == sum(bool(row["cuts"]) for row in rows.values()) > 0
    assert summary.figures(fates_copy.store, "2024-01")["overlap_share"] == pytest.approx(
        (before[CUT] + before.get("test_overlap", 0)) / len(rows), abs=1e-6
    )
    assert run(fates_copy, "--url", fates_copy.overlapping) == 0
    assert (counts()[CUT], counts()["kept"]) == (before[CUT] - 1, before["kept"] - 1)


def test_counts_of_stale_tokens_stay_what_they_were(fates_copy: grown_corpus.Fates) -> None:
    """Tokens of an earlier generation of verdicts: the new verdicts' counts are not theirs."""
    path = Path(fates_copy.root) / "tokens/2024-01/_manifest.json"
    document = json.loads(path.read_bytes())
    before = document["counts"][NOT_KEPT]
    assert before > 0
    for given in document["inputs"]:
        given["fingerprint"] = "0" * len(given["fingerprint"])
    hostile_corpus.write(path, document)

    verdicts = read_manifest(fates_copy.store, "verdicts", "2024-01")
    assert run(fates_copy, "--url", fates_copy.copy) == 0
    after = read_manifest(fates_copy.store, "verdicts", "2024-01")
    assert (verdicts.rows - verdicts.counts["kept"]) - (after.rows - after.counts["kept"]) == 1
    assert read_manifest(fates_copy.store, "tokens", "2024-01").counts[NOT_KEPT] == before


@pytest.mark.parametrize(
    ("host", "url", "listed"),
    [
        ("example.org", "http://example.org/x", True),
        ("example.org", "https://www.news.example.org:8080/", True),
        ("example.org", "http://notexample.org/", False),
        ("example.org", "http://other.test/example.org/", False),
        ("www.com", "http://www.com/", True),
        ("[2001:db8::1]", "http://[2001:db8::1]:8080/x", True),
        ("[2001:db8::1]", "http://[2001:db8::2]/x", False),
    ],
)
def test_a_host_stands_for_all_below_it(host: str, url: str, listed: bool) -> None:
    assert Forgotten(frozenset(), frozenset([host])).has_host(url) is listed


@pytest.mark.parametrize(
    "url", ["HTTP://COPIES.test/never-seen", "www.copies.test/also?x=1", "copies.test./x"]
)
def test_any_address_below_a_domain_is_told_as_taken_down(
    fates_copy: grown_corpus.Fates, url: str
) -> None:
    assert run(fates_copy, "--domain", "copies.test") == 0
    assert "taken down" in explain_text.render(explain.trace(fates_copy.store, url))


def test_a_list_of_pages_ids_and_domains(fates_copy: grown_corpus.Fates) -> None:
    ids = [id_of(fates_copy, url) for url in (fates_copy.kept, fates_copy.short)]
    listed = fates_copy.folder / "list.txt"
    listed.write_text(
        f"# a list\n{fates_copy.kept}#top  # with a fragment\n{ids[1]}\n\ncopies.test\n"
    )
    assert run(fates_copy, "--list", str(listed)) == 0
    record = takedowns(fates_copy.store)[0]
    assert set(ids) <= record.url_keys.keys()
    assert record.domains == ["copies.test"]
    assert verify.verify(fates_copy.store).problems == []


def test_snapshots_are_withdrawn_replaced_and_refused(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    files = [file.path for file in read_snapshot(store, "2024-01").splits["train"].files]
    assert run(fates_copy, "--url", fates_copy.kept) == 0
    assert sorted(snapshots(store)) == ["2024-01", "2024-01.2", "2024-02", "2024-02.2"]
    with pytest.raises(
        InputError,
        match=r"snapshot '2024-01' was withdrawn on .*; use --snapshot 2024-01\.2, or --allow-withdrawn",
    ):
        require_usable(store, "2024-01", allow_withdrawn=False)
    require_usable(store, "2024-01", allow_withdrawn=True)
    require_usable(store, "2024-01.2", allow_withdrawn=False)
    assert sum(not store.exists(path) for path in files) == 1, "the one file that held its tokens"


def test_only_snapshots_that_hold_it_are_withdrawn(fates_copy: grown_corpus.Fates) -> None:
    url = "http://site1.test/1/page-1.html"
    assert explain.trace(fates_copy.store, url).batch == "2024-02"
    assert run(fates_copy, "--url", url) == 0
    assert sorted(snapshots(fates_copy.store)) == ["2024-01", "2024-02", "2024-02.2"]


def test_withdrawn_files_can_be_kept(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    files = [file.path for file in read_snapshot(store, "2024-01").splits["train"].files]
    assert run(fates_copy, "--url", fates_copy.kept, "--keep-withdrawn") == 0
    assert all(store.exists(find_file(store, path)) for path in files)


def test_a_second_time_changes_nothing(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fates_copy, "--url", fates_copy.kept) == 0
    before = everything(fates_copy.store)
    assert run(fates_copy, "--url", fates_copy.kept) == 0
    assert "nothing new" in capsys.readouterr().out
    assert everything(fates_copy.store) == before


class StopError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_interrupted_anywhere_a_rerun_completes(
    fates: grown_corpus.Fates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """Every write and delete in turn is the last one that happens; the rerun's result is always the same."""
    real = {
        name: getattr(Store, name)
        for name in ("write_bytes", "delete", "create_exclusive", "replace_exact")
    }
    calls = 0
    limit = 10**9

    def counted(name: str) -> Any:
        def call(self: Store, path: str, *rest: Any) -> Any:
            nonlocal calls
            if path.startswith("work/"):
                return real[name](self, path, *rest)
            calls += 1
            if calls > limit:
                raise StopError
            return real[name](self, path, *rest)

        return call

    def corpus(number: str) -> grown_corpus.Fates:
        shutil.copytree(fates.root, tmp_path / number)
        return dataclasses.replace(fates, root=str(tmp_path / number))

    for name in real:
        monkeypatch.setattr(Store, name, counted(name))
    urls = ["--url", fates.kept, "--url", fates.later_copy]
    whole = corpus("whole")
    assert run(whole, *urls) == 0
    total, expected = calls, contents(whole.store)
    assert total > 20
    for stop in range(1, total, every):
        broken = corpus(str(stop))
        calls, limit = 0, stop
        with pytest.raises(StopError):
            run(broken, *urls)
        calls, limit = 0, 10**9
        assert run(broken, *(urls if stop == 1 else [])) == 0, stop
        assert contents(broken.store) == expected, f"stopped after write {stop} of {total}"
        assert snapshots(broken.store) == snapshots(whole.store)
        assert verify.verify(broken.store, workers=1).problems == []
        shutil.rmtree(broken.root)


def test_a_batch_at_work_waits(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fates_copy.store
    with hold(store, "work/2024-01/lock.json", what="dedup.run"):
        assert run(fates_copy, "--url", fates_copy.kept) == 1
    assert "waits for batches at work" in capsys.readouterr().out
    assert explain.trace(store, fates_copy.kept).link is not None
    assert snapshots(store) == ["2024-01", "2024-02"]
    assert run(fates_copy) == 0
    assert explain.trace(store, fates_copy.kept).link is None
    assert sorted(snapshots(store)) == ["2024-01", "2024-01.2", "2024-02", "2024-02.2"]


def test_a_batch_whose_links_were_read_before_the_take_down_waits(
    fates_copy: grown_corpus.Fates,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of it is committed yet, and what it will commit was filtered by the list as it was."""
    store, url = fates_copy.store, "http://fresh.test/page"
    dump = grown_corpus.write_dump(
        fates_copy.folder / "RS_2024-03.zst", [grown_corpus.Site(url, "x")], 5000
    )
    asked = []

    def link_meanwhile(store: Store) -> Forgotten:
        if not asked:
            asked.append(
                forget.main(["--corpus", store.root, "--url", url, "--why", "a test", "--yes"])
            )
        return Forgotten(frozenset(), frozenset())

    monkeypatch.setattr("crawl.links.steps.load_forgotten", link_meanwhile)
    grown_corpus.link(fates_copy.root, "2024-03", dump)
    assert asked == [1]
    assert "batch 2024-03 is being linked" in capsys.readouterr().err
    assert explain.trace(store, url).link is not None
    assert run(fates_copy) == 0
    assert explain.trace(store, url).link is None
    assert takedowns(store)[0].removed == {"links": 1}


def test_what_a_batch_at_work_was_led_to_goes_as_well(fates_copy: grown_corpus.Fates) -> None:
    """Its crawl followed a redirect to the page while the page was being taken down."""
    store = fates_copy.store
    pages = store.read_bytes("pages/2024-01/_manifest.json")
    store.delete("pages/2024-01/_manifest.json")
    with hold(store, "work/2024-01/lock.json", what="crawl.run"):
        assert run(fates_copy, "--url", "http://moved.test/new") == 1
    store.write_bytes("pages/2024-01/_manifest.json", pages)
    assert run(fates_copy) == 0
    assert explain.trace(store, fates_copy.moved).link is None
    assert residue(store, ["http://moved.test/new"]) == []


def test_dry_run(fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(fates_copy.store)
    assert run(fates_copy, "--domain", "copies.test", "--dry-run") == 0
    assert "copies.test/story\n1 pages; 0 unfinished" in capsys.readouterr().out
    assert everything(fates_copy.store) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to take down"),
        (["--url", "ftp://x.y/"], "'ftp://x.y/' is not the address of a page (not_http)"),
        (["--domain", "http://a.b"], "'http://a.b' is not a domain"),
        (["--domain", "com"], "'com' is not a domain"),
        (["--list", "/no/such"], "--list /no/such"),
    ],
)
def test_wrong_use(
    fates: grown_corpus.Fates, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fates, *words) == 2
    assert message in capsys.readouterr().err


def test_an_empty_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_corpus(str(tmp_path / "c"), create=True)
    assert (
        forget.main(
            [
                "--corpus",
                str(tmp_path / "c"),
                "--url",
                "http://a.test/x",
                "--why",
                "a test",
                "--yes",
            ]
        )
        == 0
    )
    assert "1 page listed; removed nothing was here" in capsys.readouterr().out


def test_a_page_that_redirects_led_to(fates: grown_corpus.Fates) -> None:
    found = find.find_pages(fates.store, ["http://moved.test/new"])
    assert set(found.values()) == {"moved.test/new", "moved.test/old"}


def test_the_lease(fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]) -> None:
    with lease.hold(fates.store, forget.LEASE, what="webtext.forget"):
        assert run(fates, "--url", fates.kept) == 2
    assert "held by process" in capsys.readouterr().err
