import copy
import dataclasses
from dataclasses import replace

import pyarrow as pa
import pytest

from corpus.storage.store import open_store
from corpus.tables.manifest import Manifest
from corpus.tables.parquet import write_part
from corpus.tables.schemas import DOCUMENTS, DOCUMENTS_DROPPED, LINKS, PAGES, SPANS, VERDICTS
from examples.demo.cases import Case, Destination, Expectation
from examples.demo.checks import Rows, judge, load, page_address, review, review_rows, wrong_shares
from examples.demo.dump import DumpExpectation, LinkExpectation
from examples.demo.server import Request
from examples.demo.site import COOKIE_NOTICE

EXPECTATIONS = [
    Expectation("http://a.test/1", Case.ORDINARY, Destination.KEPT, status=200),
    Expectation("http://a.test/2", Case.ORDINARY, Destination.FETCHED, status=200),
    Expectation(
        "http://m.test/1",
        Case.EXACT_COPY,
        Destination.DUPLICATE,
        status=200,
        survivor="http://a.test/1",
        reasons=("exact_duplicate",),
    ),
    Expectation(
        "http://n.test/1",
        Case.NEAR_COPY,
        Destination.DUPLICATE,
        status=200,
        survivor="http://a.test/1",
    ),
    Expectation("http://r.test/x", Case.ROBOTS_FORBIDDEN, Destination.NOT_FETCHED),
    Expectation("http://a.test/gone", Case.NOT_FOUND, Destination.NOT_FETCHED, status=404),
    Expectation(
        "http://a.test/old",
        Case.REDIRECT_CHAIN,
        Destination.KEPT,
        status=200,
        final_url="http://a.test/new",
    ),
    Expectation("http://f.test/de", Case.FOREIGN, Destination.NOT_EXTRACTED, reasons=("language",)),
    Expectation("http://i.test/p.png", Case.IMAGE_LINK, Destination.NOT_LINKED),
    Expectation("http://en.wikipedia.org/wiki/A", Case.WIKIPEDIA, Destination.NO_DOCUMENT),
    Expectation("http://s.test/0", Case.PASSAGE_VERBATIM, Destination.TEST_OVERLAP),
    Expectation("http://c.test/0", Case.WRONG_CHARSET, Destination.KEPT, phrase="déjà vu"),
]
DUMP = DumpExpectation(
    counts={"kept": 10, "self_post": 4},
    links={
        e.url: LinkExpectation(9, 1)
        for e in EXPECTATIONS
        if e.case not in (Case.IMAGE_LINK, Case.WIKIPEDIA)
    },
)
UNFETCHED = ("http://r.test/x", "http://a.test/gone")
DUPLICATES = {"http://m.test/1": "exact_duplicate", "http://n.test/1": "near_duplicate"}


def verdict(kept=True, reason=None, duplicate_of=None, testsets=(), cuts=()):
    return {
        "kept": kept,
        "reason": reason,
        "duplicate_of": duplicate_of,
        "similarity": None,
        "testsets": list(testsets),
        "overlap_ngrams": 3 * len(testsets),
        "cuts": list(cuts),
    }


@pytest.fixture
def rows():
    """Tables in which every expectation is met; the doc_id of a page is its URL."""
    found = Rows(link_counts={"kept": 10, "self_post": 4})
    for url in DUMP.links:
        found.links[page_address(url)] = {
            "doc_id": url,
            "url": url,
            "score": 9,
            "num_submissions": 1,
        }
        found.pages[url] = {"final_url": url, "redirects": [], "status": 200, "reason": None}
        if url in UNFETCHED:
            continue
        if url == "http://f.test/de":
            found.dropped[url] = {"step": "language", "reason": "language"}
            continue
        found.documents[url] = {"url": url, "text": f"A déjà\nvu of {url}"}
        reason = DUPLICATES.get(url)
        found.verdicts[url] = verdict(reason is None, reason, "http://a.test/1" if reason else None)
        if reason is None:
            found.spans[url] = 7
    found.pages["http://r.test/x"] |= {"status": None, "reason": "robots_disallowed"}
    found.pages["http://a.test/gone"] |= {"status": 404, "reason": "http_status"}
    found.pages["http://a.test/old"] |= {
        "final_url": "http://a.test/new",
        "redirects": ["http://a.test/old"],
    }
    found.verdicts["http://s.test/0"] = verdict(False, "test_overlap", testsets=["demo"])
    del found.spans["http://s.test/0"]
    return found


def failures(rows, **options):
    return review_rows(rows, EXPECTATIONS, **options).failures


def test_right_tables_have_no_failures(rows):
    result = review_rows(
        rows, EXPECTATIONS, dump=DUMP, requests=[Request(0.0, "a.test", "/1", 200)]
    )
    assert result.failures == []
    assert all(count.planted == count.handled for count in result.counts)
    assert "WRONG" not in result.table()
    assert "exact copy" in result.table()


def _link(rows, url, **fields):
    rows.links[page_address(url)] |= fields


BREAKAGES = {
    "has no row in links": lambda r: r.links.pop(page_address("http://a.test/2")),
    "has no row in pages": lambda r: r.pages.pop("http://a.test/2"),
    "status 500 (None), expected 200": lambda r: r.pages["http://a.test/2"].update(status=500),
    "not fetched: timeout": lambda r: r.pages["http://a.test/2"].update(reason="timeout"),
    "is in neither documents nor documents_dropped": lambda r: r.documents.pop("http://a.test/2"),
    "is in documents and documents_dropped": lambda r: r.dropped.update(
        {"http://a.test/2": {"reason": "x"}}
    ),
    "has no verdict": lambda r: r.verdicts.pop("http://a.test/2"),
    "kept is True, and it has no tokens": lambda r: r.spans.pop("http://a.test/2"),
    "kept is False, and it has 7 tokens": lambda r: r.verdicts["http://a.test/2"].update(
        kept=False
    ),
    "dropped by dedup: near_duplicate": lambda r: (
        r.verdicts.update({"http://a.test/1": verdict(False, "near_duplicate")}),
        r.spans.pop("http://a.test/1"),
    ),
    "clean dropped it: too_short": lambda r: (
        r.dropped.update({"http://a.test/1": {"reason": "too_short"}}),
        r.documents.pop("http://a.test/1"),
    ),
    "is kept beside the page it duplicates": lambda r: (
        r.verdicts.update({"http://m.test/1": verdict()}),
        r.spans.update({"http://m.test/1": 5}),
    ),
    "duplicate of http://a.test/2, expected http://a.test/1": lambda r: r.verdicts[
        "http://n.test/1"
    ].update(duplicate_of="http://a.test/2"),
    "reason near_duplicate, expected exact_duplicate": lambda r: r.verdicts[
        "http://m.test/1"
    ].update(reason="near_duplicate"),
    "404: http://a.test/gone: is among the documents": lambda r: r.documents.update(
        {"http://a.test/gone": {"url": "http://a.test/gone", "text": ""}}
    ),
    "http://r.test/x: has no reason": lambda r: r.pages["http://r.test/x"].update(reason=None),
    "ends at http://a.test/elsewhere, expected": lambda r: r.pages["http://a.test/old"].update(
        final_url="http://a.test/elsewhere"
    ),
    "its redirects are not recorded": lambda r: r.pages["http://a.test/old"].update(redirects=[]),
    "not English: http://f.test/de: is among the documents": lambda r: (
        r.documents.update({"http://f.test/de": {"url": "http://f.test/de", "text": "x"}}),
        r.dropped.pop("http://f.test/de"),
    ),
    "reason too_short, expected language": lambda r: r.dropped["http://f.test/de"].update(
        reason="too_short"
    ),
    "has a row in links": lambda r: r.links.update(
        {page_address("http://i.test/p.png"): {"doc_id": "i"}}
    ),
    "Wikipedia article's address: http://en.wikipedia.org/wiki/A: is among": lambda r: (
        r.links.update({page_address("http://en.wikipedia.org/wiki/A"): {"doc_id": "w"}}),
        r.documents.update({"w": {"url": "http://en.wikipedia.org/wiki/A", "text": "x"}}),
    ),
    "http://en.wikipedia.org/wiki/B is among the documents": lambda r: r.documents.update(
        {"w": {"url": "http://en.wikipedia.org/wiki/B", "text": "x"}}
    ),
    "its test passage was not found": lambda r: r.verdicts["http://s.test/0"].update(testsets=[]),
    "its test passage was found and left in": lambda r: (
        r.verdicts["http://s.test/0"].update(kept=True),
        r.spans.update({"http://s.test/0": 5}),
    ),
    "its text lacks 'déjà vu'": lambda r: r.documents["http://c.test/0"].update(
        text="d\ufffdj\ufffd vu"
    ),
    "clean page http://a.test/2 is taken for a leak": lambda r: r.verdicts[
        "http://a.test/2"
    ].update(testsets=["demo"]),
    "documents hold the site's cookie notice": lambda r: r.documents["http://a.test/2"].update(
        text=COOKIE_NOTICE
    ),
    "only 1 of 2 ordinary pages became documents": lambda r: (
        r.dropped.update({"http://a.test/2": {"reason": "too_short"}}),
        r.documents.pop("http://a.test/2"),
    ),
}


@pytest.mark.parametrize("message", BREAKAGES)
def test_each_wrong_row_is_a_failure(rows, message):
    BREAKAGES[message](rows)
    assert any(message in failure for failure in failures(rows))
    assert "WRONG" in review_rows(rows, EXPECTATIONS).table()


def test_a_cut_passage_is_as_good_as_a_dropped_page(rows):
    rows.verdicts["http://s.test/0"] = verdict(testsets=["demo"], cuts=[{"start": 0, "end": 9}])
    rows.spans["http://s.test/0"] = 5
    assert failures(rows) == []


def test_a_request_that_robots_txt_forbids_is_a_failure(rows):
    found = failures(rows, requests=[Request(0.0, "r.test", "/x", 200)])
    assert found == ["robots.txt forbids http://r.test/x, and it was requested"]


def test_the_dump_is_compared_row_by_row(rows):
    rows.link_counts = {"kept": 10, "self_post": 3}
    assert failures(rows, dump=DUMP) == ["dump rows self_post: counted 3, written 4"]
    rows.link_counts = dict(DUMP.counts)
    _link(rows, "http://a.test/2", num_submissions=2)
    assert failures(rows, dump=DUMP) == [
        "links: http://a.test/2: score 9 of 2 submissions, expected 9 of 1"
    ]
    _link(rows, "http://a.test/2", num_submissions=1)
    rows.links["b.test", "/"] = {
        "doc_id": "b",
        "url": "http://b.test/",
        "score": 3,
        "num_submissions": 1,
    }
    assert failures(rows, dump=DUMP) == ["links: http://b.test/ was not expected"]
    del rows.links["b.test", "/"]
    more = replace(DUMP, links=DUMP.links | {"http://z.test/": LinkExpectation(3, 1)})
    assert failures(rows, dump=more) == ["links: no row for http://z.test/"]
    seen = replace(more, seen=frozenset({"http://z.test/"}))
    assert failures(rows, dump=seen) == [
        "dump rows kept: counted 10, written 9",
        "dump rows seen_before: counted 0, written 1",
    ]
    rows.link_counts |= {"kept": 9, "seen_before": 1}
    assert failures(rows, dump=seen) == []


@pytest.mark.parametrize(("kept", "wrong"), [(0, 0), (2, 0), (3, 3)])
def test_bands_may_miss_one_near_copy_in_twenty(rows, kept, wrong):
    """More than that, or anything else about them, is a failure."""
    near = EXPECTATIONS[3]
    copies = [dataclasses.replace(near, url=f"http://n.test/{number}") for number in range(1, 41)]
    for number, each in enumerate(copies):
        for table in (rows.links, rows.pages, rows.documents):
            key = page_address(each.url) if table is rows.links else each.url
            model = page_address(near.url) if table is rows.links else near.url
            table[key] = table[model] | ({"doc_id": each.url} if table is rows.links else {})
        reason = None if number < kept else "near_duplicate"
        rows.verdicts[each.url] = verdict(reason is None, reason, reason and "http://a.test/1")
        if reason is None:
            rows.spans[each.url] = 7

    result = review_rows(rows, [EXPECTATIONS[0], *copies])
    assert [line for line in result.failures if "near copy" in line] == [
        f"{Case.NEAR_COPY.value}: http://n.test/{number}: is kept beside the page it duplicates"
        for number in range(1, wrong + 1)
    ]
    [line] = [line for line in result.table().splitlines() if line.startswith("near copy")]
    assert ("WRONG" in line) == (wrong > 0)
    assert ("missed by the bands" in line) == (kept == 2)


def test_a_survivor_may_lie_in_an_earlier_batch(rows):
    later = copy.deepcopy(rows)
    later.links.pop(page_address("http://a.test/1"))
    duplicate = EXPECTATIONS[2]
    assert "expected None" in (judge(duplicate, later) or "")
    later.earlier[page_address("http://a.test/1")] = "http://a.test/1"
    assert judge(duplicate, later) is None


def commit(store, table, rows, counts=None, file="part-00000.parquet"):
    full = [
        {name: row.get(name, default(table.schema.field(name))) for name in table.schema.names}
        for row in sorted(rows, key=lambda row: row["doc_id"])
    ]
    part = write_part(
        store, f"{table.name}/demo", file, table, [pa.Table.from_pylist(full, table.schema)]
    )
    manifest = Manifest(
        table=table.name, batch="demo", stage="test", schema_version=table.version, fingerprint="0", config={}, inputs=[],
        num_parts=1, parts=[part], counts=counts or {}, code_version="", created="2024-01-01T00:00:00+00:00", wall_s=0.0,
    )  # fmt: skip
    store.write_bytes(f"{table.name}/demo/_manifest.json", manifest.model_dump_json().encode())


def default(field):
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if (
        pa.types.is_timestamp(field.type)
        or pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
    ):
        return 0
    return False if pa.types.is_boolean(field.type) else ""


def test_the_committed_tables_are_read_and_a_missing_one_is_named(rows, tmp_path):
    store = open_store(str(tmp_path))
    assert "links" in review(store, "demo", EXPECTATIONS).failures[0]
    with_id = lambda table: [{"doc_id": doc_id, **row} for doc_id, row in table.items()]  # noqa: E731
    commit(store, LINKS, list(rows.links.values()), rows.link_counts)
    commit(store, PAGES, with_id(rows.pages))
    commit(store, DOCUMENTS, with_id(rows.documents))
    commit(store, DOCUMENTS_DROPPED, with_id(rows.dropped))
    commit(store, VERDICTS, with_id(rows.verdicts))
    assert "spans" in review(store, "demo", EXPECTATIONS).failures[0]
    spans = [{"doc_id": doc_id, "num_tokens": count} for doc_id, count in rows.spans.items()]
    commit(store, SPANS, spans, file="train/part-00000.parquet")
    assert load(store, "demo").spans == rows.spans
    assert review(store, "demo", EXPECTATIONS, dump=DUMP, earlier=["demo"]).failures == []


def test_a_table_of_overlap_that_was_not_counted_so_is_a_failure():
    passages = ["One two, THREE four five.", "two three four five six"]
    texts = ["said one-two three", "three four five (six)"]
    right = {"testset": "demo", "n": 3, "ngrams": 4, "found": 3}
    assert wrong_shares([right], passages, texts) == []
    for wrong in (right | {"found": 2}, right | {"ngrams": 5}):
        (failure,) = wrong_shares([wrong], passages, texts)
        assert "counted 3 of 4" in failure
    assert wrong_shares([], passages, texts) == ["the table of overlap is empty"]


def test_a_page_of_an_archive_is_none_of_its_site(rows):
    rows.pages["http://a.test/1"]["capture"] = "archive.test"
    result = review_rows(rows, EXPECTATIONS)
    assert [each for each in result.failures if "comes from archive.test" in each]
