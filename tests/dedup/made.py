"""A corpus of made pages, deduplicated through the door, and the naive rule to hold it against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import DOCUMENTS, LINKS, part_of_id
from dedup import run, words
from dedup.near_duplicates import lsh, minhash
from tests.dedup import oracle

Naive = dict[tuple[int, str], tuple[Any, ...]]


@dataclass(frozen=True)
class Page:
    text: str
    score: int = 3
    doc_id: str = ""

    @property
    def id(self) -> str:
        return self.doc_id or xxh3_128_hexdigest(f"{self.score} {self.text}".encode())


@dataclass
class MadeCorpus:
    root: Path
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_corpus(str(self.root), create=True)

    def add(self, batch: str, pages: Sequence[Page], num_parts: int = 2) -> None:
        rows = sorted({page.id: page for page in pages}.values(), key=lambda page: page.id)
        self._write(LINKS, batch, [_link(page) for page in rows], num_parts)
        self._write(DOCUMENTS, batch, [_document(page) for page in rows], num_parts)

    def dedup(self, batch: str, *arguments: str, workers: str = "1") -> int:
        return run.main(
            ["--corpus", str(self.root), "--batch", batch, "--workers", workers, *arguments]
        )

    def verdicts(self, batch: str) -> dict[str, dict[str, Any]]:
        return {row["doc_id"]: row for row in read_table(self.store, "verdicts", batch).to_pylist()}

    def fates(self, batch: str) -> dict[str, tuple[Any, ...]]:
        return {
            name: (row["kept"], row["reason"], row["duplicate_of"], row["similarity"])
            for name, row in self.verdicts(batch).items()
        }

    def _write(self, table: Any, batch: str, rows: list[dict[str, Any]], num_parts: int) -> None:
        parts = []
        for index in range(num_parts):
            here = [row for row in rows if part_of_id(row["doc_id"], num_parts) == index]
            data = pa.Table.from_pylist(here, table.schema)
            name = f"part-{index:05}.parquet"
            parts.append(
                write_part(self.store, table.folder(batch), name, table, [data], index, num_parts)
            )
        commit_table(self.store, table, batch, parts, num_parts=num_parts, stage="test")


def _link(page: Page) -> dict[str, Any]:
    return {
        "doc_id": page.id,
        "url": f"https://example.org/{page.id}",
        "url_key": f"example.org/{page.id}",
        "domain": "example.org",
        "score": page.score,
        "score_sum": page.score,
        "num_submissions": 1,
        "submission_id": "a",
        "subreddit": "r",
        "title": "t",
        "created": 0,
        "over_18": False,
    }


def _document(page: Page) -> dict[str, Any]:
    return {
        "doc_id": page.id,
        "url": f"https://example.org/{page.id}",
        "domain": "example.org",
        "text": page.text,
        "language": "en",
        "language_score": 1.0,
        "num_words": len(page.text.split()),
        "visible_words": len(page.text.split()),
        "extractor": "test",
        "score": page.score,
        "subreddit": "r",
    }


def shingle_set(text: str, n: int) -> np.ndarray:
    """The distinct shingles of one text, ascending."""
    return np.unique(oracle.ngram_hashes(oracle.word_hashes(pa.array([text])), n).row(0))


def shingle_sets(pages: Sequence[Page], n: int) -> dict[str, np.ndarray]:
    """The same of many pages, by id, with compiled code."""
    found = words.shingle_sets(words.word_hashes(pa.array([page.text for page in pages])), n)
    return {page.id: found.row(place) for place, page in enumerate(pages)}


def place_of(page: Page, n: int = 5) -> tuple[int, int, str]:
    """The place of a page in the order of survivors of its batch: score, length, id."""
    return -page.score, -shingle_set(page.text, n).size, page.id


def naive_fates(
    batches: Sequence[Sequence[Page]],
    threshold: float,
    n: int,
    config: lsh.LshConfig,
    containment: float = 0,
) -> Naive:
    """The rule as the issue says it, page by page, every kept page looked at in order."""
    perms = minhash.permutations(config.num_perm, 1)
    fates: Naive = {}
    kept: list[tuple[str, set[int], set[int], tuple[str, ...]]] = []
    for place, pages in enumerate(batches):
        for page in sorted(
            {page.id: page for page in pages}.values(),
            key=lambda page: place_of(page, n),
        ):
            spelled = tuple(word for word, _, _ in words.split_words(page.text))
            if not spelled:
                fates[place, page.id] = (False, "no_words", None, None)
                continue
            shingles = set(shingle_set(page.text, n).tolist())
            signed = oracle.sign(pa.array([page.text]), n, perms)
            keys = set(lsh.band_keys(signed.values, config)[0].tolist())
            fate: tuple[Any, ...] = (True, None, None, None)
            for other, their_shingles, their_keys, their_words in kept:
                shared = len(shingles & their_shingles)
                similarity = shared / len(shingles | their_shingles)
                holds = containment and shared / min(len(shingles), len(their_shingles))
                contained = (
                    similarity < threshold
                    and (holds and holds >= containment)
                    and (len(shingles) <= len(their_shingles) or similarity >= 0.5)
                )
                if keys & their_keys and contained:
                    fate = (False, "contained", other, float(np.float32(similarity)))
                    break
                if keys & their_keys and similarity >= threshold:
                    reason = "exact_duplicate" if spelled == their_words else "near_duplicate"
                    fate = (False, reason, other, float(np.float32(similarity)))
                    break
            fates[place, page.id] = fate
            if fate[0]:
                kept.append((page.id, shingles, keys, spelled))
    return fates
