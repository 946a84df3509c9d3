"""The fate of a page of every kind, told rightly; and which rule would have refused what was never linked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.errors import InputError
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from crawl import run as crawl_run
from shards.tokenizer.encode import load_tokenizer
from tests.support import grown_corpus
from webtext.inspection import explain, explain_text


def told(fates: grown_corpus.Fates, asked: str) -> tuple[explain.PageHistory, str]:
    story = explain.trace(fates.store, asked)
    return story, explain_text.render(story)


def test_a_kept_page_is_followed_to_its_tokens(fates: grown_corpus.Fates) -> None:
    """The place that is told holds exactly the document's tokens: decoded they are its text."""
    story, words = told(fates, fates.kept)
    assert story.place is not None
    table = pq.read_table(fates.store.local_path(story.place.path))
    row_tokens = story.place.row_tokens
    tokens = np.frombuffer(b"".join(table["tokens"].to_pylist()), "<u2")
    mine = tokens[story.place.start : story.place.start + story.place.num_tokens]
    tokenizer = load_tokenizer(fates.store)
    assert mine[-1] == tokenizer.end_of_text
    assert story.document is not None
    assert tokenizer.decode(mine[:-1].tolist()) == story.document["text"]
    first, last = story.place.rows
    assert first * row_tokens <= story.place.start < (first + 1) * row_tokens
    assert last * row_tokens < story.place.start + story.place.num_tokens <= (last + 1) * row_tokens
    parts = {part.file: part for part in read_manifest(fates.store, "tokens", "2024-01").parts}
    groups = parts[story.place.path.removeprefix("tokens/2024-01/")].metadata["row_groups"]
    before = sum(group["rows"] for group in groups[: story.place.row_group])
    assert before <= first < before + groups[story.place.row_group]["rows"]
    assert [each["name"] for each in story.snapshots] == ["2024-01", "2024-02"]
    for part in (
        "karma 10",
        "r/books",
        "status 200",
        "WARC warc/2024-01/",
        "kept",
        story.place.path,
    ):
        assert part in words


@pytest.mark.parametrize(
    "variant", ["https://www.{}?utm_source=x", "http://{}#part", "HTTP://{}", "{}"]
)
def test_any_address_of_the_page_will_do(fates: grown_corpus.Fates, variant: str) -> None:
    expected = told(fates, fates.kept)[0].doc_id
    assert told(fates, variant.format(fates.kept.removeprefix("http://")))[0].doc_id == expected
    assert told(fates, str(expected))[0].link == told(fates, fates.kept)[0].link


@pytest.mark.parametrize(
    ("name", "reason"), [("copy", "exact_duplicate"), ("near", "near_duplicate")]
)
def test_a_duplicate_names_its_survivor(fates: grown_corpus.Fates, name: str, reason: str) -> None:
    story, words = told(fates, getattr(fates, name))
    original, _ = told(fates, fates.original)
    assert story.survivor == {"doc_id": original.doc_id, "batch": "2024-01", "url": fates.original}
    assert f"removed     by dedup: {reason} of {original.doc_id}, similarity" in words
    assert story.place is None
    assert story.doc_id in {each["doc_id"] for each in original.copies}


def test_a_later_batch_duplicates_an_earlier_one(fates: grown_corpus.Fates) -> None:
    story, words = told(fates, fates.later_copy)
    assert story.batch == "2024-02"
    assert f"{fates.original} (batch 2024-01)" in words
    copies = told(fates, fates.original)[0].copies
    assert {each["batch"] for each in copies} == {"2024-01", "2024-02"}
    assert len(copies) == 3


def test_pages_that_came_to_nothing(fates: grown_corpus.Fates) -> None:
    assert "not fetched http_status, status 404" in told(fates, fates.missing)[1]
    story, words = told(fates, fates.short)
    assert story.dropped is not None
    assert f"dropped     at {story.dropped['step']} by {story.dropped['reason']}" in words
    assert "sum 42 of 3 submissions" in told(fates, fates.near)[1], "15 + 14 + 13"


def test_redirects_and_test_sets(fates: grown_corpus.Fates) -> None:
    words = told(fates, fates.moved)[1]
    assert "hop http://moved.test/hop" in words
    assert "at  http://moved.test/new" in words
    story, words = told(fates, fates.overlapping)
    assert story.verdict is not None
    assert "test sets   testset: " in words
    assert f"{len(story.verdict['cuts'])} cuts of" in words


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "https://i.imgur.com/abc",
            "media_host: imgur.com and all below it (images; preset webtext)",
        ),
        ("http://en.wikipedia.org/wiki/N-gram", "wikipedia: wikipedia.org and all below it"),
        ("http://example.org/paper.pdf", "file_type: the path ends in .pdf"),
        ("ftp://example.org/x", "not_http"),
        ("http://a..b/", "bad_url"),
        ("http://example.org/" + "x" * 5000, "url_too_long"),
        ("http://example.org/fine", "no rule refuses it"),
        ("0" * 32, "ask with its address"),
    ],
)
def test_a_page_that_was_never_linked(fates: grown_corpus.Fates, url: str, reason: str) -> None:
    story, words = told(fates, url)
    assert story.link is None
    assert reason in words


def test_a_block_list_that_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    """What it says can't be told any more; all else is."""
    hosts, subreddits = tmp_path / "hosts.txt", tmp_path / "subreddits.txt"
    hosts.write_text("blocked.test\n")
    subreddits.write_text("r/cats\n")
    root, sites = str(tmp_path / "c"), grown_corpus.ordinary(3)
    dump = grown_corpus.write_dump(tmp_path / "RS_b.zst", sites)
    lists = [
        word
        for name, path in (("blocked_hosts_file", hosts), ("blocked_subreddits_file", subreddits))
        for word in ("--set", f'crawl.links.{name}="{path}"')
    ]
    words = grown_corpus.arguments(root, "b", "--only", "links", "--dumps", str(dump), *lists)
    assert crawl_run.main(words) == 0
    store = open_corpus(root)

    def asked(url: str) -> list[str]:
        return explain_text.render(explain.trace(store, url)).splitlines()

    known = f"blocked_host: blocked.test is below a host of crawl.links.blocked_hosts_file {hosts}"
    assert asked("http://blocked.test/x")[-1].endswith(known)
    assert "no rule refuses it" in asked("http://fine.test/x")[-1]

    hosts.write_text("other.test\n")
    *_, judged, doubt = asked("http://other.test/x")
    assert "blocked_host: other.test" in judged
    changed = f"the rules are others now: {hosts} or {subreddits} or the program has changed"
    assert doubt == f"  in doubt    {changed}; batch b may have judged otherwise"

    hosts.unlink()
    *_, judged, doubt = asked("http://blocked.test/x.pdf")
    assert "file_type: the path ends in .pdf" in judged
    lost = f"the list {hosts} can no longer be read, and is left out; batch b may have judged otherwise"
    assert doubt == f"  in doubt    {lost}"
    assert "linked      in batch b" in "\n".join(asked(sites[0].url)), "its own pages need no list"


def test_a_corpus_that_is_not_done_yet(tmp_path: pytest.TempPathFactory) -> None:
    root = str(tmp_path / "c")  # type: ignore[operator]
    store = open_corpus(root, create=True)
    assert "no rule refuses it" in explain_text.render(
        explain.trace(store, "http://site0.test/0/page-0.html")
    )
    sites = grown_corpus.ordinary(3)
    grown_corpus.link(root, "b", grown_corpus.write_dump(tmp_path / "RS_b.zst", sites))  # type: ignore[operator]
    assert "webtext crawl has not run on batch b" in explain_text.render(
        explain.trace(store, sites[0].url)
    )
    grown_corpus.fetch(store, "b", sites)
    assert "webtext clean has not run on batch b" in explain_text.render(
        explain.trace(store, sites[0].url)
    )


def test_words_that_are_no_page(fates: grown_corpus.Fates) -> None:
    with pytest.raises(InputError, match="'nonsense': neither an address"):
        explain.trace(fates.store, "nonsense")


def test_the_door(fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["--corpus", fates.root, fates.kept, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert found["batch"] == "2024-01"
    assert found["place"]["num_tokens"] > 100
    assert len(lines) < 24, "one screen"
