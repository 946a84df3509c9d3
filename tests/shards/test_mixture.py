"""Mixtures: exact proportions, every source's own order, blocks of nothing but the source's documents."""

from __future__ import annotations

import os
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store, open_store
from corpus.tables.parquet import read_table
from shards.reader import open_split
from shards.stream import local_files
from shards.stream.mixture import MixtureStream, open_mixture
from shards.stream.sources import Source, read_facts, selection
from tests.support.document_corpus import Doc, commit_batch, documents, make_shards

DOMAINS = ("a.org", "b.org", "c.org", "d.org")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two batches over four domains."""
    root = str(tmp_path_factory.mktemp("sites") / "corpus")
    for number, batch in enumerate(("b1", "b2")):
        docs = documents(120, seed=number)
        for index, doc in enumerate(docs):
            doc.domain = DOMAINS[index % 4]
            doc.score = 3 + index % 10
            doc.visible_words = index if index % 3 else None
            if not doc.kept:
                doc.duplicate_of = docs[index - index % 2 - 2].doc_id
        commit_batch(root, batch, docs)
        make_shards(root, batch)
    return root


def test_mixture_keeps_its_proportions_and_resumes(sites: str) -> None:
    sources = [Source(weight=3, batches=["b1"]), Source(weight=1, batches=["b2"])]

    def stream() -> MixtureStream:
        return open_mixture(sites, "b2", "train", sources, block_size=64, seed=2)

    found, positions = stream().sources(np.arange(3 * MixtureStream.PERIOD))
    assert np.bincount(found).tolist() == [9216, 3072]
    for source in (0, 1):
        assert np.array_equal(
            np.sort(positions[found == source]), np.arange((found == source).sum())
        )
    whole = stream()
    order = [whole.next_batch(8) for _ in range(20)]
    later = stream()
    for rank in (0, 1):
        later.load_state_dict({**stream().state_dict(), "index": 80})
        assert np.array_equal(later.next_batch(8, rank, 2), order[10][rank * 4 : rank * 4 + 4])


def test_a_domain_s_documents_and_nothing_else(sites: str) -> None:
    split = open_split(sites, "b2", "train")
    domain = {
        row["doc_id"]: row["domain"]
        for batch in ("b1", "b2")
        for row in read_table(
            open_store(sites), "documents", batch, ["doc_id", "domain"]
        ).to_pylist()
    }
    tokens = {
        found.doc_id: split.slice(found.start, found.stop)
        for found in split.documents(0, split.num_tokens)
    }
    facts = read_facts(split.store, split.files, ())
    for chosen, named, expected in [
        (["a.org", "c.org"], set(), {"a.org", "c.org"}),
        (["a.org", "*"], {"a.org", "b.org"}, {"a.org", "c.org", "d.org"}),
        (["*"], {"a.org"}, {"b.org", "c.org", "d.org"}),
    ]:
        selected = selection(Source(weight=1, domains=chosen), split, named, facts)
        found = selected.documents(0, selected.num_tokens)
        ids = [document.doc_id for document in found]
        assert ids == [doc_id for doc_id in tokens if domain[doc_id] in expected]
        assert np.array_equal(
            selected.slice(0, selected.num_tokens),
            np.concatenate([tokens[doc_id] for doc_id in ids]),
        )
        for document in found:
            assert np.array_equal(
                selected.slice(document.start, document.stop), tokens[document.doc_id]
            )
        starts = np.arange(0, selected.num_tokens - 100, 77)[::-1]
        blocks = selected.read_blocks(starts, 100)
        assert all(
            np.array_equal(block, selected.slice(start, start + 100))
            for block, start in zip(blocks, starts, strict=True)
        )
    with pytest.raises(IndexError):
        selected.slice(0, selected.num_tokens + 1)


VALUES = {
    "score": st.integers(2, 13),
    "num_words": st.integers(-1, 301),
    "visible_words": st.integers(-1, 121),
    "language_score": st.sampled_from([0.5, 1.0, 1.5]),
    "duplicates": st.integers(0, 4),
}
BOUNDS = st.fixed_dictionaries({}, optional=VALUES)


@given(at_least=BOUNDS, below=BOUNDS, domains=st.lists(st.sampled_from(DOMAINS), unique=True))
@settings(max_examples=30)
def test_bounds_on_columns(
    sites: str, at_least: dict[str, float], below: dict[str, float], domains: list[str]
) -> None:
    """The documents that a plain reading of the tables chooses; one without a value is left out."""
    split = open_split(sites, "b2", "train")
    source = Source(weight=1, domains=domains, at_least=at_least, below=below)
    columns = sorted(source.columns)
    facts = read_facts(split.store, split.files, columns)
    selected = selection(source, split, set(), facts)

    store = open_store(sites)
    verdicts = [
        row for batch in ("b1", "b2") for row in read_table(store, "verdicts", batch).to_pylist()
    ]
    copies = Counter(row["duplicate_of"] for row in verdicts)
    expected = set()
    for batch in ("b1", "b2"):
        for row in read_table(store, "documents", batch).to_pylist():
            row["duplicates"] = 1 + copies[row["doc_id"]]
            values = [(row[name], bound, True) for name, bound in at_least.items()]
            values += [(row[name], bound, False) for name, bound in below.items()]
            if domains and row["domain"] not in domains:
                continue
            if all(
                value is not None and (value >= bound if least else value < bound)
                for value, bound, least in values
            ):
                expected.add(row["doc_id"])

    found = [each.doc_id for each in selected.documents(0, selected.num_tokens)]
    everything = [each.doc_id for each in split.documents(0, split.num_tokens)]
    assert found == [doc_id for doc_id in everything if doc_id in expected]


def test_sources_by_bounds(sites: str, caplog: pytest.LogCaptureFixture) -> None:
    popular = Source(weight=3, at_least={"score": 8})
    other = Source(weight=1, below={"score": 8})
    stream = open_mixture(sites, "b2", "train", [popular, other], block_size=32, seed=2)
    assert not caplog.records, "the two share nothing"
    score = {
        row["doc_id"]: row["score"]
        for batch in ("b1", "b2")
        for row in read_table(
            open_store(sites), "documents", batch, ["doc_id", "score"]
        ).to_pylist()
    }
    found, _ = stream.sources(np.arange(60))
    for index, number in enumerate(found.tolist()):
        assert all((score[each.doc_id] < 8) == number for each in stream.documents(index))

    wider = [Source(weight=3, at_least={"score": 7}), other]
    open_mixture(sites, "b2", "train", wider, block_size=32, seed=2)
    assert "sources 1 and 2 of the mixture share" in caplog.text
    with pytest.raises(InputError, match="stream state of mixture"):
        open_mixture(sites, "b2", "train", wider, block_size=32, seed=2).load_state_dict(
            stream.state_dict()
        )
    with pytest.raises(InputError, match="column 'subreddit': expected a numeric column"):
        open_mixture(
            sites, "b2", "train", [Source(weight=1, below={"subreddit": 1})], block_size=32, seed=2
        )
    with pytest.raises(InputError, match=r"\(score at least 99\) holds 0 tokens"):
        open_mixture(
            sites, "b2", "train", [Source(weight=1, at_least={"score": 99})], block_size=32, seed=2
        )


@pytest.mark.parametrize("other", [{}, {"at_least": {"score": 0}}])
def test_copies_are_counted_in_the_batches_of_every_source(tmp_path: Path, other: Any) -> None:
    """A page found again in a batch that another source takes whole, or in part, was found twice."""
    root = str(tmp_path / "corpus")
    docs, later = documents(60), documents(40, seed=1)
    for doc in (*docs, *later):
        doc.duplicate_of = None
    commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    train = open_split(root, "b1", "train")
    twice = train.documents(0, train.num_tokens)[0].doc_id
    later[0].kept, later[0].duplicate_of = False, twice
    commit_batch(root, "b2", later)
    make_shards(root, "b2")

    found_again = Source(weight=1, batches=["b1"], at_least={"duplicates": 2})
    sources = [found_again, Source(weight=1, batches=["b2"], **other)]
    stream = open_mixture(root, "b2", "train", sources, block_size=8, seed=2)
    numbers, _ = stream.sources(np.arange(20))
    found = {
        each.doc_id
        for index in np.flatnonzero(numbers == 0).tolist()
        for each in stream.documents(index)
    }
    assert found == {twice}


def test_domain_groups_by_weight(sites: str) -> None:
    sources = [
        Source(weight=1, domains=["a.org", "b.org"]),
        Source(weight=1, domains=["*"], batches=["b2"]),
    ]
    stream = open_mixture(sites, "b2", "train", sources, block_size=32, seed=2)
    again = open_mixture(sites, "b2", "train", sources, block_size=32, seed=2, window=3)
    assert stream.digest == again.digest
    rows = {
        row["doc_id"]: (batch, row["domain"])
        for batch in ("b1", "b2")
        for row in read_table(
            open_store(sites), "documents", batch, ["doc_id", "domain"]
        ).to_pylist()
    }
    found, _ = stream.sources(np.arange(60))
    for index, source in enumerate(found.tolist()):
        for document in stream.documents(index):
            batch, domain = rows[document.doc_id]
            assert domain in (("a.org", "b.org"), ("c.org", "d.org"))[source]
            assert source == 0 or batch == "b2"
    whole = stream.next_batch(60)
    later = open_mixture(sites, "b2", "train", sources, block_size=32, seed=0)
    later.load_state_dict({**stream.state_dict(), "index": 20})
    assert np.array_equal(later.next_batch(20, 1, 2), whole[30:40])
    assert stream.num_blocks > 60


def test_files_are_opened_once_for_all_sources(sites: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Store.open_input

    def open_input(store: Store, path: str) -> Any:
        read.append(path)
        return real(store, path)

    look = local_files._as_written

    def as_written(path: str, file: TokenFile, tokenizer: str) -> os.stat_result | None:
        read.append(file.path)
        return look(path, file, tokenizer)

    monkeypatch.setattr(Store, "open_input", open_input)
    monkeypatch.setattr(local_files, "_as_written", as_written)
    sources = [Source(weight=1, domains=[domain]) for domain in (*DOMAINS, "*")][:4]
    open_mixture(sites, "b2", "train", sources, block_size=32, seed=2)
    counts = Counter(path for path in read if path.endswith(".parquet"))
    assert {path.partition("/")[0] for path in counts} == {"tokens", "spans", "documents"}
    assert set(counts.values()) == {1}


def test_all_sources_together_leave_the_process_most_of_its_file_descriptors(sites: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    sources = [Source(weight=1, domains=[domain]) for domain in DOMAINS] * 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 64, limits[1]))
    try:
        stream = open_mixture(sites, "b2", "train", sources, block_size=32, seed=2)
        for _ in range(20):
            stream.next_batch(64)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_wrong_mixtures(sites: str) -> None:
    def opened(*sources: Source) -> MixtureStream:
        return open_mixture(sites, "b2", "train", sources, block_size=64, seed=2)

    with pytest.raises(InputError, match="without a source"):
        opened()
    with pytest.raises(InputError, match=r"source 2 .*nowhere\.org"):
        opened(Source(weight=1), Source(weight=1, domains=["nowhere.org"]))
    with pytest.raises(InputError, match=r"no batch \['b9'\]"):
        opened(Source(weight=1, batches=["b9"]))
    with pytest.raises(InputError, match="below 1/4096"):
        opened(Source(weight=1), Source(weight=1e-9))
    with pytest.raises(ValueError, match="greater than 0"):
        Source(weight=0)
    one, other = (opened(Source(weight=1), Source(weight=w)) for w in (1, 2))
    with pytest.raises(InputError, match="stream state of mixture"):
        other.load_state_dict(one.state_dict())


def test_documents_made_anew_no_longer_say_where_tokens_are_from(tmp_path: Path) -> None:
    root = str(tmp_path / "corpus")
    commit_batch(root, "b1", documents(20), num_parts=1)
    make_shards(root, "b1")
    commit_batch(root, "b1", [Doc("other", doc_id="0" * 32)], num_parts=1)
    with pytest.raises(InputError, match="was made anew since: run"):
        open_mixture(
            root, "b1", "train", [Source(weight=1, domains=["example.org"])], block_size=8, seed=1
        )


def test_unknown_domains_are_named(sites: str) -> None:
    """One that is misspelt among several was left out unseen."""
    for wrong in ("typo.org", "A.org", "www.a.org"):
        with pytest.raises(
            InputError, match=f"source 1 of the mixture: no document from {wrong} in"
        ):
            open_mixture(
                sites,
                "b2",
                "train",
                [Source(weight=1, domains=["b.org", wrong])],
                block_size=64,
                seed=2,
            )
    with pytest.raises(InputError, match=r"did you mean a\.org\?"):
        open_mixture(
            sites, "b2", "train", [Source(weight=1, domains=["A.org"])], block_size=64, seed=2
        )


def test_sources_that_share_documents_are_reported(
    sites: str, caplog: pytest.LogCaptureFixture
) -> None:
    def shared(*sources: Source) -> list[str]:
        caplog.clear()
        open_mixture(sites, "b2", "train", sources, block_size=64, seed=2)
        return [record.getMessage() for record in caplog.records]

    one, other = Source(weight=1, domains=["a.org"]), Source(weight=1, domains=["*"])
    assert shared(one, other) == []
    assert shared(Source(weight=1, batches=["b1"]), Source(weight=1, batches=["b2"])) == []
    split = open_split(sites, "b2", "train")
    found = selection(one, split, set(), read_facts(split.store, split.files, ()))
    assert shared(one, Source(weight=1)) == [
        f"sources 1 and 2 of the mixture share {found.num_tokens:,} tokens, which are counted in both"
    ]
    whole = open_split(sites, "b2", "train", batches=["b1"]).num_tokens
    assert f"{whole:,}" in shared(Source(weight=1, batches=["b1"]), Source(weight=2))[0]


def test_passes_over_each_source(sites: str) -> None:
    sources = [Source(weight=1, batches=["b1"]), Source(weight=1, domains=["a.org"])]
    mixture = open_mixture(sites, "b2", "train", sources, block_size=64, seed=2)
    passes = mixture.passes(mixture.num_blocks)
    blocks = [stream.num_blocks for stream in mixture._streams]
    assert passes == [mixture.num_blocks / 2 / each for each in blocks]
