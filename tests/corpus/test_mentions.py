"""Filters of references: none is ever denied, few others pass, and odd ones are read in full."""

from __future__ import annotations

import pytest
from xxhash import xxh3_128_hexdigest

from corpus.storage.store import open_store
from corpus.tables.manifest import Part, read_manifest
from corpus.tables.mentions import MENTIONS, MentionCollector, may_mention
from corpus.tables.schemas import DOCUMENTS, VERDICTS
from tests.support import grown_corpus
from tests.support.grown_corpus import Fates
from webtext.takedown import copies, find
from webtext.verify import checks


def ids(count: int, seed: str) -> list[str]:
    return [xxh3_128_hexdigest(f"{seed} {number}".encode()) for number in range(count)]


def part(keys: list[str]) -> Part:
    import pyarrow as pa

    rows = [dict.fromkeys(VERDICTS.schema.names) | {"duplicate_of": key} for key in keys]
    collector = MentionCollector(VERDICTS)
    collector.add(pa.table({"duplicate_of": pa.array([row["duplicate_of"] for row in rows])}))
    return Part(file="p", rows=0, bytes=0, digest="", metadata=collector.metadata())


@pytest.mark.parametrize("count", [0, 1, 2, 7, 2000])
def test_every_reference_passes_and_few_others(count: int) -> None:
    keys, others = ids(count, "in"), ids(2000, "out")
    found = part(keys)
    assert all(may_mention(found, [key]) for key in keys)
    passed = sum(may_mention(found, [key]) for key in others)
    assert passed <= (0 if count == 0 else 60), "1 % are expected of a full filter"
    assert not may_mention(found, [])


@pytest.mark.parametrize("text", [None, 7, "not base64!", ["AA=="]])
def test_a_part_without_a_filter_is_read(text: object) -> None:
    metadata = {} if text is None else {MENTIONS: text}
    assert may_mention(Part(file="p", rows=0, bytes=0, digest="", metadata=metadata), ["a"])


def test_tables_without_references_have_no_filter() -> None:
    assert MentionCollector(DOCUMENTS).metadata() == {}


def test_a_search_with_filters_finds_what_one_of_all_rows_finds(
    fates: Fates, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(fates.root)
    names = ["2024-01", "2024-02"]
    urls = [value for value in vars(fates).values() if str(value).startswith("http")]
    urls.append("http://moved.test/new")

    def found() -> list[dict[str, str]]:
        searched = []
        for url in urls:
            pages = find.find_pages(store, [url], names)
            searched += [pages, copies.find_copies(store, pages, names)]
        return searched

    quick = found()
    monkeypatch.setattr("webtext.takedown.rows.may_mention", lambda part, doc_ids: True)
    assert quick == found()
    assert any(len(pages) > 1 for pages in quick[::2]), "a redirect leads to one of them"
    assert any(quick[1::2]), "one of them has copies"


def test_verify_names_a_filter_that_denies_a_reference(fates: Fates) -> None:
    store = open_store(fates.root)
    manifest = read_manifest(store, "verdicts", "2024-01")
    every = range(len(manifest.parts))
    assert not any(checks.mention_problems(store, manifest, number) for number in every)
    emptied = [each.model_copy(update={"metadata": {MENTIONS: ""}}) for each in manifest.parts]
    blind = manifest.model_copy(update={"parts": emptied})
    problems = [line for number in every for line in checks.mention_problems(store, blind, number)]
    assert problems
    assert "a take-down would miss them" in problems[0]


def test_a_page_that_is_taken_down_opens_only_parts_that_may_name_it(
    fates: Fates, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(store: object, path: str, columns: object = None) -> object:
        opened.append(path)
        return real(store, path, columns)  # type: ignore[arg-type]

    from corpus.tables import parquet
    from webtext.takedown import rows

    real = parquet.iter_tables
    monkeypatch.setattr(rows, "iter_tables", noted)
    store = open_store(fates.root)
    pages = find.find_pages(store, [fates.kept], ["2024-01", "2024-02"])
    copies.find_copies(store, pages, ["2024-01", "2024-02"])
    # Its own part of links in each batch; a filter may pass a part by chance.
    assert len([path for path in opened if path.startswith("links/")]) <= 3
    assert len(opened) <= 5 < 4 * grown_corpus.NUM_PARTS
