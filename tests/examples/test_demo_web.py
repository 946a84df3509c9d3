import io
import json
from collections import Counter

import pyarrow as pa
import pytest
import zstandard

from corpus.errors import InputError
from crawl.links import group
from crawl.links import select as links
from crawl.links.config import LinksConfig
from examples.demo import edits, markup
from examples.demo.cases import Case, Destination
from examples.demo.checks import Rows, page_address, wrong_links
from examples.demo.dump import WINDOW_LOG, variants, write_dump, write_followup_dump
from examples.demo.web import CHARSET_PHRASE, build
from tests.support import child

DIGEST = """
import hashlib, sys
from examples.demo.web import build
web = build(60, seed=3)
print(hashlib.sha256(repr((sorted(web.answers.items()), web.expectations, web.passages)).encode()).hexdigest())
print(sorted({"torch", "ray", "scipy", "scrapy"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def web():
    return build(60, seed=3)


@pytest.fixture(scope="module")
def dumped(web, tmp_path_factory):
    path = tmp_path_factory.mktemp("dump") / "RS_demo.zst"
    return path, write_dump(web, path)


def read_lines(path):
    reader = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).stream_reader(
        path.open("rb")
    )
    return io.TextIOWrapper(reader, "utf-8").read().splitlines()


def body_of(web, url):
    return web.answers[page_address(url)].body.decode("utf-8", "replace")


def of_case(web, case):
    return [expectation for expectation in web.expectations if expectation.case is case]


def run_digest(hash_seed):
    return child.run_program(DIGEST, environment={"PYTHONHASHSEED": hash_seed})


def test_the_web_is_the_same_in_every_process_and_imports_nothing_heavy():
    first = run_digest("1")
    assert first == run_digest("2")
    assert first.endswith("[]\n")


def test_every_case_is_planted_on_many_hosts(web):
    planted = Counter(expectation.case for expectation in web.expectations)
    assert set(planted) == set(Case)
    assert planted[Case.ORDINARY] == 60
    assert (
        len({".".join(host.split(".")[-2:]) for host in web.hosts if host.endswith(".test")}) >= 30
    )
    assert len({expectation.url for expectation in web.expectations}) == len(web.expectations)
    other = {expectation.url for expectation in build(60, seed=4).expectations}
    assert len(other & {expectation.url for expectation in of_case(web, Case.ORDINARY)}) < 55


def test_every_expected_answer_is_served(web):
    for expectation in web.expectations:
        if (
            expectation.case is Case.WIKIPEDIA
            or expectation.final_url
            or expectation.case is Case.REDIRECT_LOOP
            or expectation.case is Case.REVIVED  # gone here, and served by the demo's archive
        ):
            continue
        answer = web.answers[page_address(expectation.url)]
        assert answer.status == (expectation.status or 200)
    for expectation in web.followup:
        assert web.answers[page_address(expectation.url)].status == 200


def test_redirects_end_where_they_should(web):
    for case, hops in (
        (Case.REDIRECT_SAME_HOST, 1),
        (Case.REDIRECT_OTHER_HOST, 1),
        (Case.REDIRECT_CHAIN, 3),
    ):
        for expectation in of_case(web, case):
            url, seen = expectation.url, 0
            while (answer := web.answers[page_address(url)]).location is not None:
                url, seen = answer.location, seen + 1
            assert (url, seen, answer.status) == (expectation.final_url, hops, 200)
            assert url not in {other.url for other in web.expectations}


def test_copies_are_as_alike_as_promised_after_extraction(web):
    trafilatura = pytest.importorskip("trafilatura")

    def text(url):
        return trafilatura.extract(body_of(web, url), fast=True, include_comments=False)

    for expectation in of_case(web, Case.EXACT_COPY):
        assert text(expectation.url) == text(expectation.survivor)
    for expectation in of_case(web, Case.NEAR_COPY):
        assert 0.85 <= edits.jaccard(text(expectation.url), text(expectation.survivor)) < 1
    for expectation in of_case(web, Case.NEAR_MISS):
        original = f"http://{expectation.url.split('/copy/')[1]}"
        assert 0.5 <= edits.jaccard(text(expectation.url), text(original)) <= 0.6


def test_the_site_around_the_text_is_boilerplate_to_an_extractor(web):
    trafilatura = pytest.importorskip("trafilatura")
    for expectation in of_case(web, Case.ORDINARY)[:20]:
        body = body_of(web, expectation.url)
        assert "We use cookies" in body
        assert "We use cookies" not in (
            trafilatura.extract(body, fast=True, include_comments=False) or ""
        )


def grams(text, n=13):
    tokens = markup.words(text)
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def test_passages_are_on_their_pages_and_nowhere_else(web):
    held_out = [grams(passage) for passage in web.passages]
    leaked = len(web.passages) // 2
    for index in range(leaked):
        text = markup.plain_text(body_of(web, f"http://studyguides.test/notes/{index:03d}"))
        assert held_out[index] <= grams(text)
    everything = set().union(*held_out)
    for expectation in (*web.expectations, *web.followup):
        if expectation.destination in (
            Destination.KEPT,
            Destination.FETCHED,
            Destination.DUPLICATE,
        ):
            page = expectation.final_url or expectation.url
            assert not everything & grams(markup.plain_text(body_of(web, page)))


def test_a_passage_that_another_page_shares_is_not_held_out(web, monkeypatch):
    shared_words, common = edits.shared_words, markup.words(web.passages[0])

    def with_one_shared(targets, others):
        found = shared_words(targets, others)
        return {
            name: 6 if list(targets[name]) == common else count for name, count in found.items()
        }

    monkeypatch.setattr(edits, "shared_words", with_one_shared)
    assert web.passages[0] not in build(60, seed=3).passages


def test_the_test_set_is_one_object_a_line(web, tmp_path):
    path = web.write_testset(tmp_path / "sets")
    assert [
        json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()
    ] == web.passages


def test_charsets_are_wrong_in_the_header_and_right_in_the_page(web):
    answers = [
        web.answers[page_address(expectation.url)]
        for expectation in of_case(web, Case.WRONG_CHARSET)
    ]
    assert {answer.content_type for answer in answers} == {
        "text/html; charset=UTF-8",
        "text/html; charset=utf8mb4-default",
    }
    for answer in answers:
        if answer.content_type.endswith("UTF-8"):
            with pytest.raises(UnicodeDecodeError):
                answer.body.decode()
            assert CHARSET_PHRASE in answer.body.decode("cp1252")
            assert b'charset="windows-1252"' in answer.body


def test_too_many_pages_are_refused(monkeypatch):
    monkeypatch.setattr("examples.demo.web.pages", lambda: iter(()))
    with pytest.raises(InputError, match=r"--pages 60: the installed packages give only 0 pages"):
        build(60)


def test_the_dump_needs_a_long_window_and_has_the_rows_promised(dumped):
    path, expected = dumped
    assert WINDOW_LOG > 27
    assert zstandard.get_frame_parameters(path.read_bytes()[:18]).window_size == 1 << WINDOW_LOG
    assert len(read_lines(path)) == expected.num_rows


@pytest.mark.parametrize("write", [write_dump, write_followup_dump])
def test_the_links_stage_finds_exactly_what_was_written(web, tmp_path, write):
    expected = write(web, tmp_path / "RS.zst")
    counts = Counter()
    with (tmp_path / "RS.zst").open("rb") as stream:
        batches = list(links.read_dump(stream, name="RS.zst", config=LinksConfig(), counts=counts))
    table, _ = group.group(pa.Table.from_batches(batches), LinksConfig())
    assert {str(destination): count for destination, count in counts.items()} == expected.counts
    rows = Rows(links={page_address(row["url"]): row for row in table.to_pylist()})
    assert len(rows.links) == table.num_rows
    assert wrong_links(rows, expected) == []
    assert all(row["url"].startswith("http://") for row in rows.links.values())


def test_rows_have_the_fields_of_december_2017(dumped, shared):
    schema_file = shared / "reddit/schemas/RS_2017-12.json.zst"
    with zstandard.open(schema_file, "rt", encoding="utf-8") as stream:
        schema = json.load(stream)[0]["schema"]
    types = {
        "bool": bool,
        "int": int,
        "float": float,
        "string": str,
        "object": dict,
        "array": list,
        "null": type(None),
    }
    for line in read_lines(dumped[0]):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        for name, value in row.items():
            assert name in schema, name
            allowed = {types[kind["type"]] for kind in schema[name]}
            assert type(value) in allowed or (name == "score" and value is None), (name, value)
        always = {
            name
            for name, kinds in schema.items()
            if all(kind["usage"] == "always" for kind in kinds)
        }
        usual = always - set(schema) | {
            "id",
            "url",
            "title",
            "score",
            "created_utc",
            "retrieved_on",
            "is_self",
            "permalink",
        }
        assert usual <= set(row)


def test_ids_and_times_ascend_and_crossposts_carry_their_parent(web, tmp_path):
    crossposts = []
    for seed in range(6):
        web.seed = seed
        write_dump(web, tmp_path / "dump.zst")
        rows = [
            json.loads(line)
            for line in read_lines(tmp_path / "dump.zst")
            if line.startswith('{"archived"')
        ]
        stamps = [(row["created_utc"], int(row["id"], 36)) for row in rows]
        assert stamps == sorted(stamps)
        by_id = {row["id"]: row for row in rows}
        for row in rows:
            if "crosspost_parent" in row:
                parent = row["crosspost_parent_list"][0]
                assert row["crosspost_parent"] == f"t3_{parent['id']}"
                assert by_id[parent["id"]]["url"] == row["url"] == parent["url"]
                assert 3 <= row["score"] < parent["score"]
                assert parent["created_utc"] < row["created_utc"]
                crossposts.append(row)
    web.seed = 3
    assert crossposts


def test_ampersands_are_escaped_as_in_the_dumps_of_that_year(dumped):
    urls = [
        json.loads(line)["url"] for line in read_lines(dumped[0]) if line.startswith('{"archived"')
    ]
    assert any("&amp;view=full" in url for url in urls)
    assert not any("&" in url.replace("&amp;", "") for url in urls)


def test_originals_have_more_karma_than_their_copies(web, dumped):
    links = dumped[1].links
    for expectation in web.expectations:
        if expectation.destination is Destination.DUPLICATE:
            assert links[expectation.survivor].score > links[expectation.url].score >= 3


def test_variants_are_the_same_page_to_server_and_checks():
    for url in ("http://a.test/x.html", "http://www.b.test/t?id=1&view=full"):
        assert {page_address(variant) for variant in variants(url)} == {page_address(url)}
        assert len(set(variants(url))) == 7


def test_the_followup_dump_mixes_new_pages_and_old(web, tmp_path):
    expected = write_followup_dump(web, tmp_path / "RS_next.zst")
    new = {expectation.url for expectation in web.followup}
    assert set(expected.links) == new | expected.seen
    assert not new & expected.seen
    assert expected.seen <= {expectation.url for expectation in web.expectations}
    assert len(read_lines(tmp_path / "RS_next.zst")) == expected.num_rows
