"""Verdicts for a person to judge: a removed page beside its survivor, and a sample of removals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.elsewhere import is_elsewhere, source_of
from corpus.tables.manifest import Manifest, earlier_batches, find_manifest, read_manifest
from corpus.tables.parquet import find_row, read_table
from corpus.urls import UrlProblem, page_identity, target
from dedup.against import documents as known_documents
from dedup.contamination import overlap
from dedup.near_duplicates import groups
from dedup.tables import OVERLAP
from dedup.words import Ragged, ngram_hashes, word_hashes, word_spans

OPEN, CLOSE = "⟦", "⟧"
GONE = "kept: no longer in the corpus (taken down)"
ELSEWHERE_GONE = "elsewhere: its file cannot be read here"
EXCERPT_CHARS = 300
GROUP_MEMBERS = 20


def explanation(store: Store, batch: str, asked: str) -> str:
    """Explain one page of a batch: its verdict, and its text next to the survivor's with differences marked.

    The page is named by any of its addresses, or by its doc_id. Raises: InputError for a page
    without a verdict.
    """
    manifest = read_manifest(store, "verdicts", batch)
    doc_id = _identify(asked)
    verdict = find_row(store, "verdicts", manifest, doc_id) if doc_id is not None else None
    if doc_id is None or verdict is None:
        raise InputError(
            f"{store.root}: batch {batch!r} has no verdict on {asked!r}; expected an address of a "
            "page of it, or the 32 digits of its doc_id"
        )

    page = to_json(store, [batch], doc_id)
    if page is None:
        raise InputError(
            f"{store.root}: batch {batch!r} has a verdict on {doc_id} and no document; rebuild the verdicts with --rebuild"
        )

    lines = [f"{doc_id}  {page['url']}", _verdict_line(verdict)]
    lines += _group_lines(store, batch, verdict["duplicate_of"] or doc_id)
    if verdict["testsets"]:
        lines += [f"  {passage}" for passage in Passages(store, batch).of(page["text"])]

    if verdict["duplicate_of"] is not None:
        survivor = _survivor(store, manifest, verdict["duplicate_of"])
        if survivor is None:
            gone = ELSEWHERE_GONE if is_elsewhere(verdict["duplicate_of"]) else GONE
            return "\n".join(
                [*lines, "", f"--- removed: {page['url']}", page["text"], "", f"--- {gone}"]
            )
        n = int(manifest.config["shingles"]["n"])
        left, right = (
            marked(page["text"], survivor["text"], n),
            marked(survivor["text"], page["text"], n),
        )
        lines += [
            f"{OPEN}…{CLOSE}: words of no shingle that both have",
            "",
            f"--- removed: {page['url']}",
            left,
        ]
        place = "elsewhere" if is_elsewhere(survivor["doc_id"]) else "kept"
        lines += ["", f"--- {place}: {survivor['url']} ({survivor['doc_id']})", right]

    return "\n".join(lines)


def sample(store: Store, batch: str, count: int, band: groups.Band | None = None) -> str:
    """`count` removed pages with their survivors, in excerpts; the same ones every time.

    With `band`, removals of a similarity in it. If it begins under the threshold, pairs of kept
    pages follow. Raises InputError for no count.
    """
    if count < 1:
        raise InputError(
            f"--sample is {count}; expected the number of removals to show, at least 1"
        )

    rows = read_table(
        store, "verdicts", batch, ["doc_id", "kept", "reason", "duplicate_of", "similarity"]
    )
    rows = rows.filter(pc.invert(rows["kept"]))
    if band is not None:
        # Verdicts hold single precision: so do the ends of the range.
        low, high = (float(np.float32(end)) for end in (band.low, band.high))
        value = rows["similarity"]
        rows = rows.filter(pc.and_(pc.greater_equal(value, low), pc.less_equal(value, high)))

    removed = rows.to_pylist()
    drawn = sorted(removed, key=lambda row: xxh3_64_intdigest(str(row["doc_id"]).encode()))[:count]
    names = [*earlier_batches(store, batch), batch]

    shown = [_excerpts(store, names, batch, row) for row in drawn]
    if band is None:
        return "\n\n".join(shown) or "no page was removed"

    threshold = float(read_manifest(store, "verdicts", batch).config["threshold"])
    if band.low < threshold:
        pairs = groups.kept_pairs(store, batch, band, count)
        shown += [_kept_excerpts(store, batch, pair) for pair in pairs]
    return "\n\n".join(shown) or f"no pair of similarity {band.low} to {band.high}"


def marked(text: str, other: str, n: int) -> str:
    """Mark the words of `text` outside shingles shared with `other`."""
    mine, theirs = (word_hashes(pa.array([each], pa.large_string())) for each in (text, other))
    grams = ngram_hashes(mine, n).values
    shared = np.flatnonzero(np.isin(grams, ngram_hashes(theirs, n).values))
    size = min(n, mine.values.size)
    covered = overlap.matched_words(mine.values.size, shared, np.full(shared.size, size))
    starts, ends = word_spans(text)
    pieces, at = [], 0
    for first, after in _runs(~covered):
        pieces += [text[at : starts[first]], OPEN, text[starts[first] : ends[after - 1]], CLOSE]
        at = int(ends[after - 1])

    return "".join([*pieces, text[at:]])


class Passages:
    """Test-set passages of a batch, to be found again in texts of either side."""

    def __init__(self, store: Store, batch: str) -> None:
        seen = read_table(store, OVERLAP.name, batch, ["ngram", "n"])
        # Passages that were met with edits have no gram.
        seen = seen.filter(pc.greater(seen["n"], 0))
        self._set(seen["ngram"].to_numpy(), seen["n"].to_numpy())

    @classmethod
    def of_grams(cls, ngram: np.ndarray, n: np.ndarray) -> Passages:
        """Passages made of these grams only, ascending. Shapes (k,) uint64, (k,) int16."""
        passages = cls.__new__(cls)
        passages._set(ngram, n)
        return passages

    def _set(self, ngram: np.ndarray, n: np.ndarray) -> None:
        self._lengths = n
        self._index = overlap.build_index(ngram, n)

    def covered(self, words: Ragged) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (row, mask of its words in such a passage) of every row of `words` with one."""
        hits = overlap.find(words, self._index)
        rows = np.unique(hits.text)
        bounds = np.searchsorted(hits.text, np.append(rows, len(words)))

        for place, row in enumerate(rows.tolist()):
            here = slice(bounds[place], bounds[place + 1])
            sizes = self._lengths[hits.key[here]]
            yield row, overlap.matched_words(words.row(row).size, hits.word[here], sizes)

    def of(self, text: str) -> list[str]:
        """The passages of one text, longest first."""
        starts, ends = word_spans(text)
        found = [
            text[starts[first] : ends[after - 1]]
            for _, covered in self.covered(word_hashes(pa.array([text], pa.large_string())))
            for first, after in _runs(covered)
        ]
        return sorted(found, key=len, reverse=True)


def to_json(store: Store, batches: list[str], doc_id: str) -> dict[str, Any] | None:
    """The page's row of `documents` in the first batch with it.

    None if there is none: it was taken down.
    """
    for name in batches:
        manifest: Manifest | None = find_manifest(store, "documents", name)
        if (
            manifest is not None
            and (row := find_row(store, "documents", manifest, doc_id)) is not None
        ):
            return row

    return None


def _survivor(store: Store, verdicts: Manifest, name: str) -> dict[str, Any] | None:
    """The page or the document elsewhere that a verdict names; None if it is gone."""
    if not is_elsewhere(name):
        return to_json(store, [*earlier_batches(store, verdicts.batch), verdicts.batch], name)

    text = known_documents.find_text(verdicts.config.get("against", []), name)
    return {"url": source_of(name), "doc_id": name, "text": text} if text is not None else None


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def _excerpts(store: Store, names: list[str], batch: str, row: dict[str, Any]) -> str:
    lines = [f"{row['doc_id']}  {_verdict_line(row)}"]
    for label, name, where in (
        ("removed", row["doc_id"], [batch]),
        ("kept", row["duplicate_of"], names),
    ):
        if name is not None and is_elsewhere(name):
            lines.append(f"  elsewhere: {name}")
        elif name is not None:
            page = to_json(store, where, name)
            lines.append(
                f"  {label}: {page['url']}: {' '.join(page['text'][:EXCERPT_CHARS].split())}"
                if page is not None
                else f"  {GONE}"
            )

    return "\n".join(lines)


def _kept_excerpts(store: Store, batch: str, pair: groups.KeptPair) -> str:
    lines = [f"both kept, similarity {pair.similarity:.3f}"]
    for name in (pair.first, pair.second):
        page = to_json(store, [batch], name)
        assert page is not None, "its text was compared"
        excerpt = " ".join(page["text"][:EXCERPT_CHARS].split())
        lines.append(f"  {name}: {page['url']}: {excerpt}")

    return "\n".join(lines)


def _group_lines(store: Store, batch: str, survivor: str) -> list[str]:
    """The pages of this batch that are removed for one survivor, the first GROUP_MEMBERS of them."""
    found = groups.members(store, batch, survivor)
    if not found.num_rows:
        return []

    lines = [f"group of {survivor}: {found.num_rows:,} removed in this batch"]
    for row in found.slice(0, GROUP_MEMBERS).to_pylist():
        page = to_json(store, [batch], row["doc_id"])
        url = page["url"] if page is not None else "taken down"
        lines.append(f"  {row['similarity']:.3f}  {row['doc_id']}  {url}")
    if found.num_rows > GROUP_MEMBERS:
        lines.append(f"  and {found.num_rows - GROUP_MEMBERS:,} less similar ones")

    return lines


def _verdict_line(verdict: dict[str, Any]) -> str:
    if verdict["kept"]:
        cuts = verdict.get("cuts") or []
        return "kept" + (f", {len(cuts)} cuts for {', '.join(verdict['testsets'])}" if cuts else "")

    line = str(verdict["reason"])
    if verdict["duplicate_of"] is not None:
        line += f" of {verdict['duplicate_of']}, similarity {verdict['similarity']:.3f}"
    if verdict.get("testsets"):
        line += f" with {', '.join(verdict['testsets'])} ({verdict['overlap_ngrams']} n-grams)"

    return line


def _identify(asked: str) -> str | None:
    """The doc_id of an address or of a doc_id; None for anything else."""
    if re.fullmatch("[0-9a-f]{32}", asked):
        return asked
    if "." not in asked and "://" not in asked:
        return None

    has_scheme = re.match("[a-zA-Z][a-zA-Z0-9+.-]*:", asked)
    page = target(asked if has_scheme else f"http://{asked}")
    return None if isinstance(page, UrlProblem) else page_identity(page).doc_id
