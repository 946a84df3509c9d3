"""Report of a batch's verdicts: groups, similarities, domains, and GPT-2's table 6, as JSON.

reports/dedup-<batch>.json      counts, largest groups, histogram of similarity, removed share
                                per domain
reports/overlap-<batch>.json    share of each test set's n-grams found in the corpus; worst
                                entries and pages
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from corpus.evaluation_sets.files import (
    TestSet,
    find_testsets,
    load_testset,
    load_testsets,
    load_train_split,
)
from corpus.storage.store import Store
from corpus.tables.dedup_reports import duplicates_path, overlap_path
from corpus.tables.elsewhere import is_elsewhere, source_of
from corpus.tables.manifest import Manifest, earlier_batches, find_manifest, read_manifest, section
from corpus.tables.parquet import iter_part, read_table
from dedup import doc_ids as ids
from dedup import document_rows, review
from dedup.contamination import overlap, test_index
from dedup.passage_spans import paragraphs
from dedup.tables import OVERLAP
from dedup.words import word_hashes

MOST_ROWS = 20
WORST_SHOWN = 3
LINE_CHARS = 100
# Table 6 of the GPT-2 paper: share of a test set's 8-grams in its own training split, and in
# WebText.
GPT2_SHARES = {
    "ptb": {"train": 0.0267, "webtext": 0.0088},
    "wikitext2": {"train": 0.0066, "webtext": 0.0163},
    "enwik8": {"train": 0.0750, "webtext": 0.0631},
    "text8": {"train": 0.0234, "webtext": 0.0394},
    "wikitext103": {"train": 0.0909, "webtext": 0.0242},
    "one_billion_word": {"train": 0.1319, "webtext": 0.0375},
}


def are_written(store: Store, batch: str) -> bool:
    """True if the batch has the reports of its verdicts: a killed run may have left none, or those of verdicts before."""
    path = duplicates_path(batch)
    if not store.exists(path):
        return False
    written: str | None = store.read_object(path).get("verdicts")
    return written == read_manifest(store, "verdicts", batch).fingerprint


def write_reports(store: Store, batch: str, testsets: Sequence[str]) -> list[str]:
    """Write the batch's reports; their paths.

    One of overlap goes where its verdicts were made without test sets.
    """
    paths = []
    if testsets:
        paths.append(overlap_path(batch))
        store.write_json(paths[0], overlaps(store, batch, testsets))
    else:
        store.delete(overlap_path(batch))

    paths.append(duplicates_path(batch))
    store.write_json(paths[-1], duplicates(store, batch))
    return paths


def duplicates(store: Store, batch: str) -> dict[str, Any]:
    """Counts, largest groups, histogram and domains of one batch."""
    groups: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    similarity = []
    verdicts = read_manifest(store, "verdicts", batch)

    for index in range(len(verdicts.parts)):
        gone: set[str] = set()
        for rows in iter_part(
            store, "verdicts", batch, index, ["doc_id", "kept", "duplicate_of", "similarity"]
        ):
            rows = rows.filter(pc.invert(rows["kept"]))
            gone.update(rows["doc_id"].to_pylist())
            groups.update(rows["duplicate_of"].drop_null().to_pylist())
            # In the digits that a float32 has: .95 is stored as .9499999881 and belongs above the edge.
            similarity.append(
                np.round(rows["similarity"].drop_null().to_numpy().astype(np.float64), 6)
            )

        for rows in iter_part(store, "documents", batch, index, ["doc_id", "domain"]):
            for doc_id, domain in zip(
                rows["doc_id"].to_pylist(), rows["domain"].to_pylist(), strict=True
            ):
                pages[domain] += 1
                removed[domain] += doc_id in gone

    edges = np.round(np.linspace(0, 1, 21), 2)
    histogram, _ = np.histogram(np.concatenate([np.zeros(0), *similarity]), edges)
    largest = sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:MOST_ROWS]
    urls = _urls(store, batch, [name for name, _ in largest])

    return {
        "batch": batch,
        "verdicts": verdicts.fingerprint,
        "counts": verdicts.counts,
        "removed_frac": 1 - verdicts.counts.get("kept", 0) / verdicts.rows
        if verdicts.rows
        else 0.0,
        "similarity_histogram": {
            f"{low:.2f}-{high:.2f}": int(count)
            for low, high, count in zip(edges[:-1], edges[1:], histogram, strict=True)
            if count
        },
        "elsewhere": _by_source(groups),
        "largest_groups": [
            {"survivor": name, "url": urls.get(name), "removed": count} for name, count in largest
        ],
        "repeated_passages": _repeated_passages(store, batch),
        "domains": [
            {
                "domain": domain,
                "pages": pages[domain],
                "removed": count,
                "removed_frac": count / pages[domain],
            }
            for domain, count in sorted(removed.items(), key=lambda item: (-item[1], item[0]))[
                :MOST_ROWS
            ]
            if count
        ],
    }


def _repeated_passages(store: Store, batch: str) -> list[dict[str, Any]]:
    """The paragraphs that most pages lost since another page has them, for people to judge."""
    manifest = read_manifest(store, "verdicts", batch)
    passages = manifest.config.get("passages", {})
    if not passages.get("min_words", 0):
        return []

    removed: Counter[int] = Counter()
    shown: dict[int, str] = {}
    documents = read_manifest(store, "documents", batch)
    for part in range(len(manifest.parts)):
        for rows in iter_part(store, "verdicts", batch, part, ["doc_id", "cuts"]):
            with_cuts = rows.filter(pc.greater(pc.list_value_length(rows["cuts"]), 0))
            cuts = dict(
                zip(with_cuts["doc_id"].to_pylist(), with_cuts["cuts"].to_pylist(), strict=True)
            )
            wanted = np.sort(ids.pack(with_cuts["doc_id"]))
            for found in document_rows.rows_by_id(store, documents, wanted, ("doc_id", "text")):
                for row in found.to_pylist():
                    _count_paragraphs(row["text"], cuts[row["doc_id"]], passages, removed, shown)

    return [
        {"removed": count, "text": shown[key]}
        for key, count in sorted(removed.items(), key=lambda item: (-item[1], shown[item[0]]))
    ][:MOST_ROWS]


def _count_paragraphs(
    text: str,
    cuts: Sequence[Mapping[str, int]],
    passages: Mapping[str, int],
    removed: Counter[int],
    shown: dict[int, str],
) -> None:
    """Count the paragraphs of a page that lie in its cuts.

    A line of a cut block is part of it. What test sets cut counts only if it is a whole paragraph.
    With passages anywhere, a cut that holds no paragraph counts as it is.
    """
    after = 0
    ranges = paragraphs(text, passages["min_words"])
    if passages.get("anywhere"):
        ranges += [
            (cut["start"], cut["end"])
            for cut in cuts
            if not any(cut["start"] <= start and end <= cut["end"] for start, end in ranges)
        ]
    for start, end in sorted(ranges, key=lambda place: (place[0], -place[1])):
        if start >= after and any(cut["start"] <= start and end <= cut["end"] for cut in cuts):
            after = end
            key = xxh3_64_intdigest(" ".join(text[start:end].lower().split()).encode())
            removed[key] += 1
            shown.setdefault(key, text[start:end][: review.EXCERPT_CHARS])


def _by_source(groups: Mapping[str, int]) -> list[dict[str, Any]]:
    """The pages removed for documents outside the corpus, by source."""
    removed: Counter[str] = Counter()
    for name, count in groups.items():
        if is_elsewhere(name):
            removed[source_of(name)] += count
    return [{"source": name, "removed": count} for name, count in sorted(removed.items())]


def _urls(store: Store, batch: str, doc_ids: Sequence[str]) -> dict[str, str]:
    """The addresses of pages of this batch or of those before it, those aside that were taken down."""
    here = [name for name in doc_ids if not is_elsewhere(name)]
    wanted = np.sort(ids.pack(pa.array(here, pa.string())))
    found: dict[str, str] = {}
    for manifest in document_rows.documents(store, batch):
        for rows in document_rows.rows_by_id(store, manifest, wanted, ("doc_id", "url")):
            found.update(zip(rows["doc_id"].to_pylist(), rows["url"].to_pylist(), strict=True))
    return found


def overlaps(store: Store, batch: str, testsets: Sequence[str]) -> dict[str, Any]:
    """Table 6 for this batch and for the corpus up to it, with the worst entries and pages."""
    manifest = read_manifest(store, OVERLAP.name, batch)
    before = [find_manifest(store, OVERLAP.name, name) for name in earlier_batches(store, batch)]
    sets = load_testsets(testsets)
    settings = section(manifest, "overlap", overlap.OverlapConfig)
    own = own_train_shares(testsets, settings)
    table = _table(store, manifest, [each for each in before if each is not None])
    passages = review.Passages(store, batch)
    worst = _worst_entries(sets, passages)
    near = NearPassages(sets, settings)

    return {
        "batch": batch,
        "table": [
            row | {"share_of_own_train": own.get((row["testset"], row["n"]))} for row in table
        ],
        "worst_entries": worst[:MOST_ROWS],
        "entries": _overlapping(worst, sets),
        "entries_left": _entries_left(store, batch, sets, near),
        "coverage": [_coverage(testset, settings) for testset in sets],
        "exempted": _exempted(store, batch, sets),
        "worst_pages": _worst_pages(store, batch, passages, near),
    }


def render(report: dict[str, Any]) -> str:
    """The report of overlap for people: the table beside the paper's, then the worst entries and pages."""
    lines = [
        "share of the test sets' n-grams that the corpus contains (GPT-2: what the paper saw, n = 8); "
        "left: in what is trained on, after removal",
        f"{'test set':36}{'n':>3}{'n-grams':>12}{'this batch':>12}{'so far':>9}{'own train':>11}"
        f"{'GPT-2:':>8}{'WebText':>9}{'own train':>11}{'left: this batch':>18}{'so far':>9}",
    ]

    for row in report["table"]:
        gpt2 = row["gpt2"] or {"webtext": None, "train": None}
        lines.append(
            f"{row['testset'][-35:]:36}{row['n']:3}{row['ngrams']:12,}{_percent(row['share']):>12}"
            f"{_percent(row['share_so_far']):>9}{_percent(row['share_of_own_train']):>11}"
            f"{'':8}{_percent(gpt2['webtext']):>9}{_percent(gpt2['train']):>11}"
            f"{_percent(row['share_left']):>18}{_percent(row['share_left_so_far']):>9}"
        )

    for row in report["worst_entries"][:WORST_SHOWN]:
        lines.append(
            f"entry {row['entry']} of {row['testset']}: {row['words_found']} of {row['words']} words found: {_line(row['text'])}"
        )

    if report["exempted"]:
        lines.append(f"{len(report['exempted']):,} phrases of entries are left in: common speech")
    for row in report["exempted"][:WORST_SHOWN]:
        lines.append(f"left in, of {row['testset']} entry {row['entry']}: {_line(row['text'])}")
    for row in report["worst_pages"][:WORST_SHOWN]:
        lines.append(
            f"page {row['doc_id']} {row['url']}: {row['overlap_ngrams']} n-grams: {_line(row['passage'])}"
        )

    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _line(passage: str) -> str:
    return " ".join(passage.split())[:LINE_CHARS]


def own_train_shares(
    testsets: Sequence[str], config: overlap.OverlapConfig
) -> dict[tuple[str, int], float]:
    """Per set that names its own training split, and n: the share of its n-grams in that split."""
    shares = {}
    for file in find_testsets(testsets):
        train = load_train_split(file)
        if train is None:
            continue
        test = load_testset(file)
        for n in config.measure_n:
            mine, theirs = (overlap.distinct_ngrams(each, n, config) for each in (test, train))
            shares[file.name, n] = float(np.isin(mine, theirs).mean()) if mine.size else 0.0

    return shares


def _table(store: Store, manifest: Manifest, before: list[Manifest]) -> list[dict[str, Any]]:
    """One row per set and n.

    Earlier batches count for a set if they were filtered against the same file of it.
    """
    digest = _digests(manifest)
    met: dict[tuple[str, int], list[np.ndarray]] = {}
    left: dict[tuple[str, int], list[np.ndarray]] = {}
    for each in (manifest, *before):
        same = {name for name, value in _digests(each).items() if digest.get(name) == value}
        columns = ["ngram", "n", "num_kept", "testsets"]
        marks = read_table(store, OVERLAP.name, each.batch, columns)
        ngram, num_kept = marks["ngram"].to_numpy(), marks["num_kept"].to_numpy()
        for key, places in overlap.by_set(marks["n"].to_numpy(), marks["testsets"]).items():
            if key[0] in same:
                met.setdefault(key, []).append(ngram[places])
                left.setdefault(key, []).append(ngram[places[num_kept[places] > 0]])

    table = []
    measured = manifest.config["overlap"]["measure_n"]
    for counted, total in sorted(manifest.counts.items()):
        name, _, grams = counted.rpartition(" ")
        if not grams.endswith("-grams") or int(grams.removesuffix("-grams")) not in measured:
            continue

        n = int(grams.removesuffix("-grams"))
        found, still = (manifest.counts.get(f"{counted} {word}", 0) for word in ("found", "left"))
        so_far, left_so_far = (_num_distinct(each.get((name, n), [])) for each in (met, left))
        row = {
            "testset": name,
            "n": n,
            "ngrams": total,
            "found": found,
            "left": still,
            "found_so_far": so_far,
            "left_so_far": left_so_far,
        }
        row |= {
            "share": found / total,
            "share_left": still / total,
            "share_so_far": so_far / total,
            "share_left_so_far": left_so_far / total,
            "gpt2": _gpt2(name) if n == 8 else None,
        }
        table.append(row)

    return table


def _num_distinct(grams: Sequence[np.ndarray]) -> int:
    return int(np.unique(np.concatenate([np.zeros(0, np.uint64), *grams])).size)


def _digests(manifest: Manifest) -> dict[str, str]:
    return {each.batch: each.fingerprint for each in manifest.inputs if each.table == "testset"}


def _gpt2(name: str) -> dict[str, float] | None:
    plain = name.lower().replace("-", "").replace("_", "")
    return next(
        (shares for known, shares in GPT2_SHARES.items() if known.replace("_", "") in plain), None
    )


def _worst_entries(sets: Sequence[TestSet], passages: review.Passages) -> list[dict[str, Any]]:
    """The entries of which the batch contains most, by share of their words."""
    rows: list[dict[str, Any]] = []
    for testset in sets:
        texts = testset.texts
        words = word_hashes(pa.array(texts, pa.large_string()))
        for entry, covered in passages.covered(words):
            rows.append(
                {
                    "testset": testset.name,
                    "entry": entry,
                    "words": covered.size,
                    "words_found": int(covered.sum()),
                    "text": texts[entry][: review.EXCERPT_CHARS],
                }
            )

    rows.sort(
        key=lambda row: (
            -row["words_found"] / row["words"],
            -row["words"],
            row["testset"],
            row["entry"],
        )
    )

    return rows


def _coverage(testset: TestSet, config: overlap.OverlapConfig) -> dict[str, Any]:
    """The part of a set that is looked for: its fields, and entries that have no removable gram."""
    grams, entry = overlap.removable_entries(testset, config)
    return {
        "testset": testset.name,
        "entries": len(testset.entries),
        "fields": list(testset.fields),
        "left_out": list(testset.left_out),
        "entries_without_gram": len(testset.entries) - int(np.unique(entry).size),
        "ngrams": int(np.unique(grams).size),
    }


def _exempted(store: Store, batch: str, sets: Sequence[TestSet]) -> list[dict[str, Any]]:
    """The entries of which something was left in pages as common speech, with the words."""
    seen = read_table(store, OVERLAP.name, batch, ["ngram", "n", "exempt"])
    seen = seen.filter(seen["exempt"])
    if seen.num_rows == 0:
        return []
    passages = review.Passages.of_grams(seen["ngram"].to_numpy(), seen["n"].to_numpy())
    rows: list[dict[str, Any]] = []
    for testset in sets:
        texts = testset.texts
        words = word_hashes(pa.array(texts, pa.large_string()))
        for entry, _ in passages.covered(words):
            rows += [
                {"testset": testset.name, "entry": entry, "text": text}
                for text in passages.of(texts[entry])
            ]

    return rows


def _entries_left(
    store: Store, batch: str, sets: Sequence[TestSet], near: NearPassages
) -> dict[str, list[int]]:
    """Per set the entries of which kept pages still hold something after their cuts."""
    seen = read_table(store, OVERLAP.name, batch, ["ngram", "n", "num_kept"])
    seen = seen.filter(pc.greater(seen["num_kept"], 0))
    exact = seen.filter(pc.not_equal(seen["n"], test_index.NEAR))
    keys = seen.filter(pc.equal(seen["n"], test_index.NEAR))["ngram"].to_numpy()
    passages = review.Passages.of_grams(exact["ngram"].to_numpy(), exact["n"].to_numpy())
    found: dict[str, list[int]] = {}
    for testset in sets:
        texts = pa.array(testset.texts, pa.large_string())
        words = word_hashes(texts)
        entries = {entry for entry, _ in passages.covered(words)}
        found[testset.name] = sorted(entries | near.holding(texts, keys))

    return found


def _overlapping(
    rows: Sequence[Mapping[str, Any]], sets: Sequence[TestSet]
) -> dict[str, dict[str, Any]]:
    """Per set the number of its entries, and those of which the batch contains something."""
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["testset"], []).append(row["entry"])

    return {
        testset.name: {
            "entries": len(testset.entries),
            "overlapping": sorted(found.get(testset.name, [])),
        }
        for testset in sets
    }


class NearPassages:
    """The passages of test sets that are looked for with edits; indexed when first asked."""

    def __init__(self, sets: Sequence[TestSet], config: overlap.OverlapConfig) -> None:
        self._sets = sets
        self._config = config
        self._index: test_index.TestIndex | None = None

    def holding(self, texts: pa.Array, keys: np.ndarray) -> set[int]:
        """The texts that hold a passage with one of these keys."""
        if keys.size == 0:
            return set()
        return {row for row, found in self._search(texts) if np.isin(found.ngrams, keys).any()}

    def of(self, text: str) -> list[str]:
        """The passages of one text, longest first."""
        return sorted(
            (
                text[start:end]
                for _, found in self._search(pa.array([text], pa.large_string()))
                for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True)
            ),
            key=len,
            reverse=True,
        )

    def _search(self, texts: pa.Array) -> list[tuple[int, test_index.PageHits]]:
        if self._index is None:
            tables = test_index.tables(self._sets, self._config)
            self._index = test_index.TestIndex.of_tables(*tables, self._config.prefix_words)
        return test_index.search(texts, self._index, self._config)


def _worst_pages(
    store: Store, batch: str, passages: review.Passages, near: NearPassages
) -> list[dict[str, Any]]:
    """The pages with most removable grams, with the matching passage."""
    columns = ["doc_id", "kept", "reason", "testsets", "overlap_ngrams"]
    rows: list[dict[str, Any]] = []
    for index in range(len(read_manifest(store, "verdicts", batch).parts)):
        for piece in iter_part(store, "verdicts", batch, index, columns):
            rows.extend(piece.filter(pc.greater(piece["overlap_ngrams"], 0)).to_pylist())
            rows = sorted(rows, key=lambda row: (-row["overlap_ngrams"], row["doc_id"]))[:MOST_ROWS]

    for row in rows:
        page = review.to_json(store, [batch], row["doc_id"])
        assert page is not None, "a batch has a document for every verdict"
        found = passages.of(page["text"]) or near.of(page["text"])
        row |= {"url": page["url"], "passage": found[0][: review.EXCERPT_CHARS] if found else ""}

    return rows
