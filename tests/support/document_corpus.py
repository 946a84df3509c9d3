"""A small corpus of documents and verdicts, made by hand, for the tests of this stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from corpus.snapshots.snapshot import write_snapshot
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import write_part
from corpus.tables.schemas import DOCUMENTS, LINKS, TOKENS, VERDICTS, part_of_id
from shards import run
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import Tokenizer
from shards.write_step import TokenWriter, WriterConfig

WORDS = [
    "the",
    "a",
    "of",
    "corpus",
    "token",
    "page",
    "crawl",
    "web",
    "text",
    "link",
    "model",
    "train",
    "don't",
    "it's",
    "2019",
    "42",
    ",",
    ".",
    "!",
    "naïve",
    "東京",
    "🙂",
    "\n",
]


@dataclass
class Doc:
    """A document and its verdict."""

    text: str
    kept: bool = True
    cuts: Sequence[tuple[int, int]] = ()
    doc_id: str = field(default="")
    domain: str = "example.org"
    score: int = 3
    duplicate_of: str | None = None
    visible_words: int | None = None


def documents(count: int, seed: int = 0) -> list[Doc]:
    """Documents of 0 to 300 words, every seventh not kept."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = rng.choice(WORDS, int(rng.integers(0, 300)))
        found.append(
            Doc(
                " ".join(words),
                kept=number % 7 != 3,
                doc_id=xxh3_128_hexdigest(f"{seed}/{number}".encode()),
            )
        )
    return found


def commit_batch(root: str, batch: str, docs: Sequence[Doc], num_parts: int = 3) -> Store:
    """Commit `documents` and `verdicts` of a batch, as the stages before would."""
    store = open_corpus(root, create=True)
    docs = sorted(docs, key=lambda doc: doc.doc_id)
    rows: dict[str, list[dict[str, Any]]] = {
        "documents": [_document(doc) for doc in docs],
        "verdicts": [_verdict(doc) for doc in docs],
        "links": [],
    }
    for table in (LINKS, DOCUMENTS, VERDICTS):
        parts = [
            write_part(
                store,
                table.folder(batch),
                f"part-{index:05}.parquet",
                table,
                [
                    pa.Table.from_pylist(
                        [
                            row
                            for row in rows[table.name]
                            if part_of_id(row["doc_id"], num_parts) == index
                        ],
                        table.schema,
                    )
                ],
                index,
                num_parts,
            )
            for index in range(num_parts)
        ]
        counts = {"kept": sum(doc.kept for doc in docs)} if table is VERDICTS else {}
        commit_table(store, table, batch, parts, counts=counts, num_parts=num_parts)
    return store


def make_shards(root: str, batch: str, *extra: str) -> None:
    """Run the door with small row groups and a large validation share; it must succeed."""
    assert run.main(arguments(root, batch, *extra)) == 0


def token_corpus(root: str, ids: np.ndarray, batch: str = "b", **settings: Any) -> None:
    """A corpus of nothing but a train file of these tokens (GPT-2's), and a snapshot named as its batch."""
    store = open_corpus(root, create=True)
    name = "train/part-00000.parquet"
    with store.open_output(f"{TOKENS.folder(batch)}/{name}") as stream:
        writer = TokenWriter(
            stream, name, "train", Tokenizer(vocabulary.gpt2()), WriterConfig(**settings)
        )
        writer.write(ids, 1, 1)
        part = writer.finish()
    commit_table(store, TOKENS, batch, [part])
    write_snapshot(store, batch, [batch])


def arguments(root: str, batch: str, *extra: str) -> list[str]:
    """The door's command line."""
    small = ["row_tokens=64", "row_group_tokens=1024", "val_frac=0.2"]
    sets = [argument for setting in small for argument in ("--set", f"shards.writer.{setting}")]
    return ["--corpus", root, "--batch", batch, "--executor", "serial", *sets, *extra]


def _document(doc: Doc) -> dict[str, Any]:
    return {
        "doc_id": doc.doc_id,
        "url": f"https://example.org/{doc.doc_id}",
        "domain": doc.domain,
        "title": None,
        "text": doc.text,
        "language": "en",
        "language_score": 1.0,
        "num_words": len(doc.text.split()),
        "visible_words": doc.visible_words,
        "published": None,
        "extractor": "test",
        "score": doc.score,
        "subreddit": "test",
        "fetched_at": 0,
    }


def _verdict(doc: Doc) -> dict[str, Any]:
    return {
        "doc_id": doc.doc_id,
        "kept": doc.kept,
        "reason": None if doc.kept else "exact_duplicate",
        "duplicate_of": doc.duplicate_of,
        "similarity": None,
        "testsets": [],
        "overlap_ngrams": 0,
        "cuts": [{"start": start, "end": end} for start, end in doc.cuts],
    }
