"""Steps on tables made by hand: signatures, keys, comparison, ranks and savepoints at their borders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from corpus.errors import InputError
from corpus.run.step import Context
from corpus.storage.store import open_corpus, open_store
from corpus.tables.schemas import DOCUMENTS, SIGNATURES
from dedup import doc_ids
from dedup.config import DedupConfig
from dedup.near_duplicates import candidate_steps, components, lsh, ranks, savepoint, survivor_steps
from dedup.near_duplicates.groups import Band
from dedup.near_duplicates.lsh import LshConfig
from dedup.near_duplicates.savepoint import Savepoint
from dedup.near_duplicates.signature_steps import load_keys, load_signatures
from dedup.tables import CHOICES, DECISIONS, EDGES, KEYS, OVERLAPS, SHINGLES

CONFIG = DedupConfig(lsh=LshConfig(num_bands=2, rows_per_band=2))
IDS = [f"{n:032x}" for n in range(5)]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    store = open_corpus(str(tmp_path / "c"), create=True)
    return cast(Context, SimpleNamespace(store=store, batch="b", num_parts=1))


def keys_of(context: Context, **joins: dict[str, list[Any]]) -> list[dict[str, Any]]:
    texts = ["", "one word", "one word more than that", "one word more than this", "... !"]
    documents = pa.table({"doc_id": IDS, "text": pa.array(texts, pa.large_string())})
    signed = load_signatures(CONFIG, context)(documents, {})
    assert signed.counts == {"no_words": 2}
    table = signed.tables[SIGNATURES.name]
    assert table["num_shingles"].to_pylist() == [0, 1, 1, 1, 0]
    made = {name: pa.table(columns) for name, columns in joins.items()}
    found = load_keys(CONFIG, context)(table, made)
    rows: list[dict[str, Any]] = found.tables[KEYS.name].to_pylist()
    return rows


def test_pages_without_words_and_dropped_ones_have_no_keys(context: Context) -> None:
    """Two bands and the content make three keys. A page without a row of its own has a score of 0."""
    scores = {"doc_id": IDS[1:], "score": pa.array([5, 6, 7, 8], pa.int32())}
    overlaps = {
        "doc_id": IDS[:3],
        "dropped": [False, False, True],
        "overlap_ngrams": pa.array([0, 3, 0], pa.int32()),
    }
    rows = keys_of(context, **{DOCUMENTS.name: scores, OVERLAPS.name: overlaps})
    assert [len(row["keys"]) for row in rows] == [0, 3, 0, 3, 0]
    assert [row["taken_down"] for row in rows] == [False] * 5
    given = np.array([0, 5, 6, 7, 8]), np.array([1, 0, 1, 1, 1], bool), np.array([0, 1, 1, 1, 0])
    assert [row["rank"] for row in rows] == ranks.ranks(CONFIG.survivors.prefer, *given).tolist()
    rows = keys_of(context, **{DOCUMENTS.name: scores})
    assert [len(row["keys"]) for row in rows] == [0, 3, 3, 3, 0]


@pytest.mark.parametrize(
    ("earlier", "later", "similarity"),
    [
        (range(4), range(3), 0.75),
        (range(8), range(1, 8), 7 / 8),
        (range(400), range(299), None),
        (range(4), range(1, 5), None),
        (range(3), range(3), 1.0),
    ],
)
def test_a_pair_at_the_threshold_stays(
    earlier: range, later: range, similarity: float | None, context: Context
) -> None:
    config = DedupConfig(threshold=0.75)
    docs = [bytes([n]) * 16 for n in (1, 2)]
    table = pa.table(
        {
            "home": [0, 0], "batch": [0, 1], "doc": docs, "rank": [7, 8], "content": docs,
            "shingles": [list(earlier), list(later)],
            "partner_batches": [[], [0]], "partners": [[], [docs[0]]],
        },
        SHINGLES.schema,
    )  # fmt: skip
    output = candidate_steps.load_compare_reduce(config, context)(0, table)
    rows = output.tables[EDGES.name].to_pylist()
    assert [row["similarity"] for row in rows] == ([] if similarity is None else [similarity])
    for row in rows:
        assert (row["earlier"], row["earlier_rank"], row["later"]) == (docs[0], 7, docs[1])


def test_the_first_pages_of_a_large_bucket_lead() -> None:
    """They are compared with every other; a bucket of as many pages has no others."""
    sizes = [lsh.LEADERS + 2, 1, lsh.LEADERS]
    bucket = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    leads = candidate_steps._leads(bucket).tolist()
    assert leads == [True] * lsh.LEADERS + [False] * 2 + [True] * (1 + lsh.LEADERS)
    assert candidate_steps._leads(bucket[:0]).tolist() == []


def test_nodes_of_buckets_are_their_own() -> None:
    bucket = np.arange(4096, dtype=np.uint64)
    nodes = components.bucket_nodes(bucket)
    assert np.unique(nodes).size == bucket.size
    assert not np.isin(nodes, bucket).any()
    pages = doc_ids.pack(pa.array(["0123456789abcdef" + "0" * 15 + "1", "f" * 32]))
    assert components.page_nodes(pages).tolist() == [0x0123456789ABCDEF, (1 << 64) - 1]


def test_a_rank_orders_as_its_values_do() -> None:
    """Clean before unclean, then the score, then the length, whatever their size."""
    rng = np.random.default_rng(3)
    clean = rng.random(60) < 0.5
    score = rng.choice([-(1 << 31), -5, 0, 4, (1 << 31) - 1], 60)
    length = rng.choice([0, 1, 900, (1 << 24) - 1, 1 << 24, 1 << 30], 60)
    for prefer in (("clean", "score", "length"), ("length", "clean"), ("score",), ()):
        found = ranks.ranks(prefer, score, clean, length)
        values = {
            "clean": clean.tolist(), "score": score.tolist(),
            "length": np.minimum(length, (1 << 24) - 1).tolist(),
        }  # fmt: skip
        wanted = list(zip(*(values[name] for name in prefer), strict=True)) or [()] * 60
        for one in range(60):
            for other in range(60):
                assert (found[one] < found[other]) == (wanted[one] < wanted[other])


def test_a_page_of_an_earlier_batch_is_clean_without_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = {"score": [3, 3, 3], "overlap_ngrams": [0, 1, 2], "num_shingles": [5, 6, 5]}
    monkeypatch.setattr(ranks, "read_manifest", lambda *_: None)
    monkeypatch.setattr(ranks, "_column", lambda *given: np.array(columns[given[3]]))
    wanted = doc_ids.pack(pa.array(IDS[:3]))
    manifest = cast(Any, SimpleNamespace(batch="b"))
    found = ranks.ranks_of_batch(cast(Any, None), manifest, wanted, ("clean", "length"))
    assert np.argsort(found).tolist() == [2, 1, 0]
    assert found[0] - found[1] == (1 << 24) - 1
    assert ranks.ranks_of_batch(cast(Any, None), manifest, wanted[:0], ("clean",)).size == 0


def test_a_savepoint_is_written_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(savepoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store, state = open_store(str(tmp_path)), np.arange(9)
    kept = Savepoint(store, "s.npz", [state])
    written = []
    for now[0] in (159.9, 160.0, 219.9, 220.0):
        store.delete("s.npz")
        kept.keep(4, state)
        written += [now[0]] * store.exists("s.npz")
    assert written == [160.0, 220.0]
    found = np.zeros(9, np.int64)
    assert kept.restore(found) == 4
    assert found.tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 0]
    assert Savepoint(store, "s.npz", [state + 1]).restore(found) == 0
    assert Savepoint(store, "none.npz", [state]).restore(found) == 0
    store.write_bytes("s.npz", store.read_bytes("s.npz")[:-40])
    assert Savepoint(store, "s.npz", [state]).restore(found) == 0


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("0-1", True), ("0.7-0.7", True), ("0.70-0.75", True), ("-0.1-1", False), ("0-1.001", False), ("0.7-0.69", False), ("0.7", False), ("-", False)],
)  # fmt: skip
def test_a_range_of_similarity(text: str, allowed: bool) -> None:
    if allowed:
        low, high = map(float, text.split("-"))
        assert Band.parse(text) == Band(low, high)
    else:
        with pytest.raises(InputError, match="expected a range"):
            Band.parse(text)


def test_a_page_below_the_threshold_is_contained() -> None:
    """Pages of one part come in their order, whatever the order of the tasks that settled them."""
    doc = [bytes([n]) * 16 for n in (3, 1, 4, 2)]
    table = pa.table(
        {
            "doc": doc,
            "duplicate_of": [b"k" * 16] * 4,
            "similarity": [0.75, 1.0, 0.7499, 0.7501],
            "exact": [False, True, False, False],
            "elsewhere": [False] * 4,
        },
        CHOICES.schema,
    )
    context = cast(Context, SimpleNamespace(files=()))
    found = survivor_steps.load_decisions_reduce(DedupConfig(threshold=0.75), context)(0, table)
    rows = found.tables[DECISIONS.name].to_pylist()
    assert [(row["doc_id"], row["contained"], row["exact"]) for row in rows] == [
        ("01" * 16, False, True),
        ("02" * 16, False, False),
        ("03" * 16, False, False),
        ("04" * 16, True, False),
    ]
    assert {row["duplicate_of"] for row in rows} == {"6b" * 16}
