"""Exact borders of settings, windows, samples and choices of documents."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections import OrderedDict
from functools import partial
from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.config import Section
from corpus.errors import ConfigError, InputError, SchemaError
from shards import pin_tokenizer, tokenizer_sample, write_step
from shards.pin_tokenizer import TokenizerConfig
from shards.split import fractions, is_validation
from shards.stream import by_weight, epochs, row_groups
from shards.stream.blocks import BlockStream, sequential_blocks
from shards.stream.by_weight import WeightedSplit
from shards.stream.cache import TokenCache
from shards.stream.epochs import EpochStream, as_saved, least_window, most_fetched, share_of
from shards.stream.file_layout import values_offset
from shards.stream.mixture import _apportion
from shards.stream.selection import Selection, select
from shards.stream.sources import FileFacts, Source, chosen
from shards.stream.tokens import TokenSplit
from shards.tokenizer import document_check, encode, vocabulary_files
from shards.tokenizer.byte_spelling import CHAR_OF_BYTE
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.unsettled import unsettled_rows
from shards.tokenizer.vocabulary_files import PUBLISHED
from shards.write_step import TokenWriter, WriterConfig, kept_pieces, uncut_pieces
from tests.setting_values import check_values


@pytest.mark.parametrize(
    ("section", "name", "allowed", "refused"),
    [
        (WriterConfig, "val_frac", (0.0, 0.999), (-0.001, 1.0)),
        (WriterConfig, "compression_level", (1, 19), (0, 20)),
        (WriterConfig, "row_tokens", (1, 4096), (0, -1, 3)),
        (WriterConfig, "row_group_tokens", (1024, 1 << 28), (0, -1024, 1025, (1 << 28) + 1024)),
        (TokenizerConfig, "vocab_size", (257, 1 << 24), (256, (1 << 24) + 1)),
        (TokenizerConfig, "sample_bytes", (1,), (0,)),
        (TokenizerConfig, "memory_bytes", (1,), (0,)),
    ],
)
def test_values_of_a_setting(
    section: type[Section], name: str, allowed: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    check_values(section, name, allowed, refused, r"expected|must be|above")


def test_row_groups_of_a_window() -> None:
    """As few places as mix well, and neighbours enough to be fetched together."""
    found = {window: epochs.row_groups_together(window) for window in range(1, 65)}
    assert [found[window] for window in range(1, 13)] == [1, 1, 1, 4, 5, 6, 7, 8, 9, 10, 11, 6]
    assert {found[window] for window in range(12, 28)} == {6}
    assert [found[window] for window in (28, 31, 32, 36, 64)] == [7, 7, 8, 8, 8]


def test_an_epoch_fetches_a_fifth_more_from_windows_of_five() -> None:
    assert [most_fetched(window) for window in (0, 1, 3, 4, 5, 32)] == [1, 2, 2, 1.25, 1.2, 1.125]
    assert least_window() == 5


@pytest.mark.parametrize(
    ("together", "kept"),
    [(1, 1), (5, 5), (6, 6), (7, None), (0, None), (-1, None), (True, None), ("3", None), (2.0, None)],
)  # fmt: skip
def test_a_saved_run_keeps_its_windows_if_they_can_be(together: Any, kept: int | None) -> None:
    ours: dict[str, int | str] = {"seed": 3, "window": 6, "together": 6}
    saved = as_saved(ours, {"together": together})
    assert saved == ({"seed": 3, "window": 6} | ({"together": kept} if kept != 1 else {}) if kept else ours)  # fmt: skip


def test_a_state_without_neighbours_is_of_single_row_groups() -> None:
    assert as_saved({"window": 6, "together": 6}, {}) == {"window": 6}


@pytest.mark.parametrize(
    ("given", "share"),
    [((1, 0, 1), 1), ((8, 3, 4), 2), ((8, 4, 4), None), ((8, -1, 4), None), ((0, 0, 1), None),
     ((7, 0, 2), None), ((8, 0, 0), None)],
)  # fmt: skip
def test_the_share_of_a_rank(given: tuple[int, int, int], share: int | None) -> None:
    if share is None:
        with pytest.raises(InputError, match="expected|do not divide"):
            share_of(*given)
    else:
        assert share_of(*given) == share


class Stream(EpochStream):
    """Samples that are not read."""

    num_blocks = 10**6

    def _next_rows(self, first: int, count: int) -> np.ndarray:
        raise AssertionError

    def _needed(self, indices: np.ndarray) -> tuple[np.ndarray, int]:
        return indices[:1], 1


def stream(**changes: int) -> tuple[Stream, list[int]]:
    asked: list[int] = []
    tokens = SimpleNamespace(
        misses=0, ahead=1, prefetch=lambda places, count: asked.append(int(places[0]))
    )
    given = {"block_size": 1, "seed": 0, "window": 0, **changes}
    return Stream(cast(Any, tokens), **given), asked


def test_a_stream_has_blocks_and_windows() -> None:
    assert stream(window=0, block_size=1)[0].together == 1
    for changes in ({"window": -1}, {"block_size": 0}):
        with pytest.raises(InputError, match="expected"):
            stream(**changes)


def test_a_stream_looks_ahead_every_eighth_of_the_distance() -> None:
    made, asked = stream()
    eighth = epochs.LOOK_AHEAD // 8
    for index in (0, 1, eighth - 1, eighth, 2 * eighth - 1, 2 * eighth, 0):
        made.prefetch(index)
    assert asked == [0, eighth, 2 * eighth, 0]
    made._tokens.misses += 1  # type: ignore[misc]
    made.prefetch(1)
    assert asked[-1] == 1


def test_an_index_beyond_an_epoch_is_in_a_later_one() -> None:
    made, _ = stream()
    made.seek(1, 2 * made.num_blocks + 7)
    assert (made.epoch, made.index) == (3, 7)
    made.seek(0, made.num_blocks - 1)
    made.advance(1)
    assert (made.epoch, made.index) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_the_first_documents_by_hash(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a sort of all of them: the sample holds only those that it may need."""
    rng = random.Random(seed)
    documents = [
        (rng.random(), f"{n:032x}", ("\u00e4b" * rng.randrange(6)).encode()) for n in range(40)
    ]
    monkeypatch.setattr(tokenizer_sample, "_documents", lambda *_: iter(documents))
    total = sum(len(text) for _, _, text in documents)
    for size in (1, 2, 3, 50, 51, total - 1, total, total + 1):
        left, expected = size, []
        for _, _, text in sorted(documents):
            piece = text[:left].decode("utf-8", "ignore")
            left -= len(text[:left])
            expected += [piece] * bool(piece)
        found = tokenizer_sample.sample_texts(cast(Any, None), ["b"], sample_bytes=size, seed=0, val_frac=0)  # fmt: skip
        assert list(found) == expected


@pytest.mark.parametrize(("memory", "texts"), [(880, 2), (879, 1), (440, 1), (439, 0)])
def test_a_sample_ends_where_memory_does(memory: int, texts: int) -> None:
    """A word of four bytes that is new takes 440 bytes; one that was met takes none."""
    given = ["word word", "word that", "more"]
    assert len(list(tokenizer_sample.within_memory(given, memory))) == texts


class Numbers:
    """A split whose token at each place is the place."""

    name, digest, run_tokens, ahead, end_of_text = "train", "d", 1, 0, 0
    dtype = np.int64
    files: Any = ()

    def slice(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop)


def test_a_selection_is_its_ranges_end_to_end() -> None:
    """Every slice, place and end of a document against a list."""
    begins, ends = np.array([2, 7, 20]), np.array([5, 8, 24])
    selection = Selection(cast(TokenSplit, Numbers()), begins, ends, "x")
    whole = [place for begin, end in zip(begins, ends, strict=True) for place in range(begin, end)]
    assert selection.num_tokens == len(whole) == 8
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            assert selection.slice(start, stop).tolist() == whole[start:stop]
    for start, stop in ((-1, 2), (3, 2), (0, len(whole) + 1)):
        with pytest.raises(IndexError):
            selection.slice(start, stop)
    assert selection.positions(np.arange(8)).tolist() == whole
    assert selection.read_blocks(np.array([4, 0]), 3).tolist() == [whole[4:7], whole[0:3]]
    # A document that ends at place n has its last token at n - 1.
    every = np.arange(1, 30)
    inside = [whole.index(end - 1) + 1 for end in every.tolist() if end - 1 in whole]
    assert selection.ends_inside(every).tolist() == inside


def test_documents_without_text_are_no_ranges() -> None:
    """Neighbours that are chosen are one range, over no end of a file."""
    split = Numbers()
    split.files = [SimpleNamespace(num_tokens=10), SimpleNamespace(num_tokens=4)]
    masks = [[False, True, True, False, True], [True]]
    ends = [[2, 5, 6, 6, 10], [4]]
    chosen = [(np.array(mask), np.array(end)) for mask, end in zip(masks, ends, strict=True)]
    selection = select(cast(TokenSplit, split), chosen, "x")
    assert (selection._begins.tolist(), selection.num_tokens) == ([2, 6, 10], 4 + 4 + 4)
    empty = [(np.array([False, True, False]), np.array([3, 3, 10])), (np.array([False]), np.array([4]))]  # fmt: skip
    selection = select(cast(TokenSplit, split), empty, "x")
    assert (selection._begins.tolist(), selection.num_tokens) == ([], 0)
    assert selection.ends_inside(np.array([3, 10])).tolist() == []


def test_bounds_of_a_source() -> None:
    """At least includes the bound, below does not, and a document without a value is left out."""
    facts = FileFacts(
        np.arange(1, 5), pa.array(["a.org"] * 4).dictionary_encode(), {"score": np.array([2.0, 3.0, 4.0, np.nan])}
    )  # fmt: skip

    def taken(**bounds: dict[str, float]) -> list[bool]:
        return chosen(Source(weight=1.0, **bounds), set(), facts).tolist()  # type: ignore[arg-type]

    assert taken(at_least={"score": 3.0}) == [False, True, True, False]
    assert taken(below={"score": 3.0}) == [True, False, False, False]
    assert taken(at_least={"score": 3.0}, below={"score": 4.0}) == [False, True, False, False]
    assert taken() == [True] * 4


@pytest.mark.parametrize(
    ("weight", "uniform", "copies"),
    [
        (0.0, 0.0, 1),
        (0.3, 0.99, 1),
        (1.0, 0.0, 1),
        (1.5, 0.49, 2),
        (1.5, 0.5, 1),
        (7.25, 0.24, 8),
        (7.25, 0.25, 7),
        (8.0, 0.0, 8),
        (8.9, 0.0, 8),
        (1e9, 0.0, 8),
    ],
)
def test_copies_of_a_document(weight: float, uniform: float, copies: int) -> None:
    """Its weight in copies on average, at least one, at most eight."""
    assert by_weight._copies(np.array([weight]), np.array([uniform])).tolist() == [copies]


@pytest.mark.parametrize(
    ("index", "allowed"), [(0, True), ((1 << 24) - 1, True), (1 << 24, False), (-1, False), (True, False), (1.0, False)]
)  # fmt: skip
def test_ids_of_a_vocabulary_have_24_bits(index: Any, allowed: bool) -> None:
    document = {"model": {"type": "BPE", "vocab": {"a": index}}}
    if allowed:
        document_check._check_ids(document, "x")
    else:
        with pytest.raises(InputError, match="expected 0 to 16777215"):
            document_check._check_ids(document, "x")


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_a_token_file_of_every_size(vocab_size: int, dtype: str) -> None:
    """Documents of all lengths: full row groups are written at once, the rest is padded to a row."""
    tokenizer = cast(
        Any, SimpleNamespace(fingerprint="f", vocab_size=vocab_size, end_of_text=vocab_size - 1)
    )
    config = WriterConfig(row_tokens=2, row_group_tokens=6)
    for sizes in ([], [1], [6], [5, 1], [7], [5, 2], [12], [6, 6], [3, 14, 1]):
        stream = io.BytesIO()
        writer = TokenWriter(stream, "f", "train", tokenizer, config)
        total = 0
        for size in sizes:
            writer.write(np.arange(total, total + size), 1, 10 * size)
            total += size
            assert (len(writer._groups), writer._num_pending) == divmod(total, 6)
        record = writer.finish().metadata
        counts = [record[name] for name in ("dtype", "num_tokens", "num_documents", "num_bytes")]
        assert counts == [dtype, total, len(sizes), 10 * total]
        table = pq.read_table(io.BytesIO(stream.getvalue()))
        (column,) = table.columns
        values = np.frombuffer(b"".join(column.to_pylist()), np.dtype(dtype))
        assert values.tolist() == [*range(total), *[vocab_size - 1] * (total % 2)]
        rows = [group["rows"] for group in record["row_groups"]]
        assert rows == [3] * (total // 6) + [-(-(total % 6) // 2)] * bool(total % 6)


@pytest.mark.parametrize(
    ("cuts", "pieces"),
    [
        ([], ["abcdef"]),
        ([(0, 2)], ["cdef"]),
        ([(4, 6)], ["abcd"]),
        ([(1, 2), (2, 4)], ["a", "ef"]),
        ([(0, 6)], [""]),
        ([(2, 2)], ["ab", "cdef"]),
        ([(0, 0), (6, 6)], ["abcdef"]),
        ([(1, 3), (2, 4)], None),
        ([(3, 2)], None),
        ([(4, 7)], None),
        ([(-1, 2)], None),
    ],
)
def test_pieces_between_cuts(cuts: list[tuple[int, int]], pieces: list[str] | None) -> None:
    if pieces is None:
        with pytest.raises(InputError, match="not ascending ranges"):
            uncut_pieces("abcdef", cuts)
    else:
        assert uncut_pieces("abcdef", cuts) == pieces


@pytest.mark.parametrize(
    ("seams", "texts", "counts"),
    [("documents", [" a ", " c", " d "], [2, 1]), ("paragraphs", ["a\n\nc", " d "], [1, 1])],
)
def test_pieces_are_joined_by_a_blank_line_or_documents_of_their_own(
    seams: Any, texts: list[str], counts: list[int]
) -> None:
    """A text that is left in one piece stays as it is, and a document that is not kept is left out."""
    ids = ["1", "2", "3"]
    documents = pa.table({"doc_id": ids, "text": [" a b c", "x d ", "e"]})
    verdicts = pa.table(
        {
            "doc_id": list(reversed(ids)),
            "kept": [False, True, True],
            "cuts": [[], [{"start": 0, "end": 1}], [{"start": 3, "end": 4}]],
        }
    )
    found = kept_pieces(documents, verdicts, seams)
    assert found[0].to_pylist() == ["1", "2"]
    assert (found[1].to_pylist(), found[2].tolist()) == (texts, counts)


def test_a_source_without_a_choice_takes_whole_files() -> None:
    source = Source(weight=1.0)
    assert source.is_whole
    for choice in ({"domains": ["a.org"]}, {"at_least": {"score": 1.0}}, {"below": {"score": 1.0}}):
        assert not Source(weight=1.0, **choice).is_whole  # type: ignore[arg-type]


def test_domains_of_a_source() -> None:
    """`*` takes those that no source names, beside its own."""
    domains = pa.array(["a.org", "b.org", "c.org"]).dictionary_encode()
    facts = FileFacts(np.arange(1, 4), domains, {})

    def taken(*names: str) -> list[bool]:
        return chosen(Source(weight=1.0, domains=list(names)), {"a.org", "b.org"}, facts).tolist()

    assert taken("a.org") == [True, False, False]
    assert taken("*") == [False, False, True]
    assert taken("b.org", "*") == [False, True, True]


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({}, None),
        ({"vocab_size": 300, "seed": 1}, None),
        ({"vocab_size": 301}, "vocab_size"),
        ({"vocab_size": 300, "seed": 2}, "seed"),
        ({"source": "train", "seed": 1}, None),
        ({"source": "train", "vocab_size": 299}, "vocab_size"),
        ({"source": "gpt2"}, "source"),
    ],
)
def test_a_pinned_tokenizer_keeps_its_settings(
    asked: dict[str, Any], refused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of training are compared with the record, a source by its fingerprint."""
    record = {"fingerprint": "f", "source": "train", "vocab_size": 300, "seed": 1}
    store = SimpleNamespace(root="c", exists=lambda path: True, read_object=lambda path: record)
    check = partial(checked_pin, monkeypatch, store, asked)
    if refused is None:
        check("f", "g")
    else:
        text = rf"shards.tokenizer.{refused} = .* \(vocab_size 300\)"
        with pytest.raises(ConfigError, match=text):
            check("f", "g")


def test_a_source_that_is_the_pinned_one_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus without a record compares the vocabularies themselves."""
    store = SimpleNamespace(root="c", exists=lambda path: path == pin_tokenizer.TOKENIZER_PATH)
    check = partial(checked_pin, monkeypatch, store, {"source": "gpt2"})
    check("f", "f")
    with pytest.raises(ConfigError, match="this corpus has another tokenizer"):
        check("f", "g")


def checked_pin(
    monkeypatch: pytest.MonkeyPatch, store: Any, asked: dict[str, Any], pinned: str, given: str
) -> None:
    """Check settings against a corpus, with the fingerprints of its tokenizer and of the source."""
    found = {"load_tokenizer": pinned, "_given": given}
    for name, fingerprint in found.items():
        vocabulary = SimpleNamespace(fingerprint=fingerprint)
        monkeypatch.setattr(pin_tokenizer, name, lambda _, found=vocabulary: found)
    pin_tokenizer.check_pin(store, TokenizerConfig(**asked))


def test_unsettled_characters_are_found_at_the_ends_of_every_run() -> None:
    """Those of the file, at every length of UTF-8, and none of their neighbours."""
    file = resources.files("shards.tokenizer").joinpath("unsettled_characters.txt")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    runs = [tuple(int(edge, 16) for edge in line.split()) for line in lines]
    points = sorted(
        {point for run in runs for edge in run for point in (edge - 1, edge, edge + 1)}
        | {0x7F, 0x80, 0x377, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF}
    )
    points = [point for point in points if not 0xD800 <= point < 0xE000 and point < 0x110000]
    unsettled = {point for first, last in runs for point in range(first, last + 1)}
    texts = pa.array([f"a{chr(point)}" for point in points], pa.large_string())
    found = [points[row] for row in unsettled_rows(texts).tolist()]
    assert found == [point for point in points if point in unsettled]
    assert unsettled_rows(texts.slice(5, 3)).tolist() == [
        row for row in range(3) if points[5 + row] in unsettled
    ]


def test_digits_are_words_of_their_own() -> None:
    """Under `digits`, as in StarCoder; GPT-2's rule keeps a number whole."""
    import tokenizers

    for rule, words in (
        ("digits", ["a", "1", "2", "Ġ", "3", "b"]),
        ("gpt2", ["a", "12", "Ġ3", "b"]),
    ):
        document = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": SPLIT_RULES[rule]}  # fmt: skip
        split = tokenizers.Tokenizer.from_str(json.dumps(document)).pre_tokenizer
        assert [word for word, _ in split.pre_tokenize_str("a12 3b")] == words


def test_an_empty_document_beside_others_is_no_range() -> None:
    split = Numbers()
    split.files = [SimpleNamespace(num_tokens=9)]
    mask, ends = np.array([True, False, True, False, True]), np.array([2, 5, 5, 7, 9])
    selection = select(cast(TokenSplit, split), [(mask, ends)], "x")
    assert selection.num_tokens == 4
    assert selection.positions(np.arange(4)).tolist() == [0, 1, 7, 8]


def test_spans_follow_each_other_and_documents_without_text_have_none() -> None:
    """Not even an end; one of a single character has two tokens, and pieces have an end each."""
    written: list[Any] = []
    spans: list[pa.Table] = []

    def encode_array(texts: pa.Array, *, end_of_text: bool) -> tuple[np.ndarray, np.ndarray]:
        assert end_of_text
        rows = [[*text.encode(), 0] for text in texts.to_pylist()]
        ids = np.array([each for row in rows for each in row], np.uint32)
        return ids, np.array([len(row) for row in rows], np.int64)

    tokens = SimpleNamespace(num_tokens=100, write=lambda *given: written.append(given))
    parts = tokens, SimpleNamespace(write=spans.append), SimpleNamespace(encode_array=encode_array)
    doc_ids, texts = pa.array(["1", "2", "3", "4"]), pa.array(["ab", "", "c", "de", "f"])
    write_step._SplitWriter(*cast(Any, parts)).write(doc_ids, texts, np.array([1, 1, 1, 2]))
    ((ids, num_documents, num_bytes),) = written
    assert bytes(ids.tolist()) == b"ab\0c\0de\0f\0"
    assert (num_documents, num_bytes) == (4, 6)
    rows = [tuple(row.values()) for row in spans[0].to_pylist()]
    assert rows == [("1", 100, 3), ("2", 103, 0), ("3", 103, 2), ("4", 105, 5)]


def test_a_sample_is_of_kept_documents_that_are_not_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each with its hash; pieces between cuts are a blank line apart."""
    ids = [f"{n:032x}" for n in range(40)]
    kept = [n % 5 > 0 for n in range(40)]
    cuts = [[{"start": 1, "end": 2}] if n % 2 else [] for n in range(40)]
    verdicts = pa.table({"doc_id": ids, "kept": kept, "cuts": cuts})
    documents = pa.table({"doc_id": ids, "text": [f"a-b{n}" for n in range(40)]})
    monkeypatch.setattr(tokenizer_sample, "part_paths", lambda *_: ["p"])
    monkeypatch.setattr(tokenizer_sample, "read_file", lambda *_: verdicts)
    monkeypatch.setattr(tokenizer_sample, "iter_tables", lambda *_: iter([documents]))
    found = list(tokenizer_sample._documents(cast(Any, None), ["b"], 7, 0.3))
    held_out = is_validation(ids, 0.3)
    assert 0 < held_out.sum() < 40
    order = fractions(ids, 7).tolist()
    assert found == [
        (order[n], ids[n], (f"a\n\nb{n}" if n % 2 else f"a-b{n}").encode())
        for n in range(40)
        if kept[n] and not held_out[n]
    ]


def test_a_trained_tokenizer_records_what_it_was_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pin_tokenizer, "train", lambda texts, size: (list(texts), size))
    given: list[str] = []
    monkeypatch.setattr(pin_tokenizer, "sample_texts", lambda *_, **__: iter(given))
    store = cast(Any, SimpleNamespace(root="c"))
    train = partial(
        pin_tokenizer._train_on_sample, store, TokenizerConfig(vocab_size=300), ["b"], 0
    )
    with pytest.raises(InputError, match="has no kept documents"):
        train()
    given += ["ab", "\u00e4"]
    found, sampled = train()
    assert cast(Any, found) == (given, 300)
    assert sampled == {"sampled_documents": 2, "sampled_bytes": 4}


@pytest.mark.parametrize(
    ("spelled", "decoded", "problem"),
    [
        (list("<e>"), "Plain words, 12 numbers and (punctuation).", None),
        ([0], "Plain words, 12 numbers and (punctuation).", "gets the id that ends a document"),
        (list("<e>"), "Plain words,  numbers and (punctuation).", "comes back as"),
    ],
)
def test_a_vocabulary_keeps_plain_text_and_its_end_apart(
    spelled: list[Any], decoded: str, problem: str | None
) -> None:
    tokenizer = SimpleNamespace(
        vocabulary=SimpleNamespace(end_of_text_token="<e>"),
        end_of_text=0,
        encode=lambda text: [*spelled, *text] if "<e>" in text else list(text),
        decode=lambda ids: f" {decoded}",
    )
    with contextlib.nullcontext() if problem is None else pytest.raises(InputError, match=problem):
        pin_tokenizer._check_round_trip(cast(Any, tokenizer), "x")


class Tokens(Numbers):
    """So many tokens, each its place."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens


@pytest.mark.parametrize(("num_tokens", "num_blocks"), [(4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_block_needs_one_token_more_than_it_predicts(num_tokens: int, num_blocks: int) -> None:
    split = cast(Any, Tokens(num_tokens))
    if num_blocks:
        assert BlockStream(split, block_size=4, seed=0).num_blocks == num_blocks
    else:
        with pytest.raises(InputError, match="a block needs 5; choose a smaller"):
            BlockStream(split, block_size=4, seed=0)


@pytest.mark.parametrize("num_tokens", range(10))
def test_blocks_in_order_predict_each_token_once(num_tokens: int) -> None:
    """None has a single token, with nothing to predict."""
    blocks = [each.tolist() for each in sequential_blocks(cast(Any, Tokens(num_tokens)), 4)]
    assert [token for block in blocks for token in block[1:]] == list(range(1, num_tokens))
    assert all(2 <= len(block) <= 5 for block in blocks)


def test_nothing_of_a_weighed_split_is_an_empty_slice() -> None:
    tokens = cast(Any, Tokens(6))
    split = WeightedSplit(tokens, [Selection(tokens, np.array([2]), np.array([4]), "x")], "d")
    assert split.num_tokens == 8
    for start in range(9):
        assert split.slice(start, start).shape == (0,)
    assert split.slice(4, 8).tolist() == [4, 5, 2, 3]
    assert split.slice(6, 8).tolist() == [2, 3]


def test_copies_are_rounded_by_stored_lots() -> None:
    """Another hash would repeat other documents, and a saved run could not go on."""
    lots = fractions([f"{n:032x}" for n in range(4)], by_weight.ROUNDING_SEED)
    assert lots.round(9).tolist() == [0.317297793, 0.58288546, 0.084799833, 0.462797324]


def test_a_split_that_fits_exactly_needs_no_window(tmp_path: Any) -> None:
    cache = TokenCache(tmp_path, 1000)
    assert [cache.window_for(size, 10) > 0 for size in (999, 1000, 1001)] == [False, False, True]


@pytest.mark.parametrize(
    ("header", "offset"), [(-1, None), (0, None), (1, 101), (255, 355), (256, None)]
)
def test_one_page_has_a_header_of_some_bytes(header: int, offset: int | None) -> None:
    """Those of Parquet have dozens; two pages have far more than that over their values."""
    column = SimpleNamespace(
        compression="UNCOMPRESSED",
        has_dictionary_page=False,
        total_compressed_size=20 + header,
        data_page_offset=100,
    )
    assert values_offset(column, 10, 2) == offset


@pytest.mark.parametrize(
    "weights", [[1.0, 0.0], [1.0, -1.0], [1.0], [1.0, float("inf")], [float("nan"), 1.0]]
)
def test_weights_of_a_mixture_are_numbers_above_zero(weights: list[float]) -> None:
    with pytest.raises(InputError, match="expected 2 numbers above 0"):
        _apportion(weights, 8, 2)
    assert _apportion([1.0, 7.0], 8, 2) == [1, 7]


def test_files_under_maps_are_looked_at_once_a_second(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [50.0]
    monkeypatch.setattr(row_groups, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    path = tmp_path / "tokens"
    path.write_bytes(b"abcd")
    maps = row_groups.Maps()
    maps.watch()
    maps.open(path, cast(Any, SimpleNamespace(bytes=4)))
    path.write_bytes(b"abc")
    for clock[0] in (50.5, 50.999):
        maps.watch()
    clock[0] = 51.0
    with pytest.raises(SchemaError, match="changed while it was in use"):
        maps.watch()


def test_ids_around_texts_are_at_their_ends() -> None:
    """Also around an empty one."""
    ids, counts = encode._framed(np.array([7, 8, 9], np.uint32), np.array([2, 0, 1]), [1, 2], [3])
    assert ids.tolist() == [1, 2, 7, 8, 3, 1, 2, 3, 1, 2, 9, 3]
    assert counts.tolist() == [5, 3, 4]


def test_the_first_missing_byte_is_named() -> None:
    vocabulary = {char: byte for byte, char in CHAR_OF_BYTE.items() if byte not in (0x41, 0x7A)}
    document = {
        "model": {"type": "BPE", "vocab": vocabulary},
        "pre_tokenizer": {"type": "ByteLevel"},
    }
    with pytest.raises(InputError, match=r"no token for byte 0x41 \(A; 2 bytes without\)"):
        document_check._check_coverage(document, "x")


def test_special_tokens_of_published_files() -> None:
    """From `openai_public.py` of tiktoken 0.14, written down once more."""
    assert {name: ids for name, _, ids in PUBLISHED.values()} == {
        "r50k_base": {"<|endoftext|>": 50256},
        "p50k_base": {"<|endoftext|>": 50256},
        "cl100k_base": {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
        "o200k_base": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    }


def test_the_rule_of_gpt2_is_written_as_published() -> None:
    """The pre-tokenizer in the `tokenizer.json` of GPT-2 on the hub, with its default rule named."""
    published = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    assert SPLIT_RULES["gpt2"] == {**published, "use_regex": True}


def test_a_token_is_made_of_tokens_of_lower_rank() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"abc": 4}
    assert vocabulary_files._split_by_ranks(b"abc", ranks) == (b"ab", b"c")
    with pytest.raises(InputError, match="is not made of tokens of lower rank"):
        vocabulary_files._split_by_ranks(b"abc", {b"a": 0, b"b": 1, b"c": 2, b"abc": 3})
    with pytest.raises(InputError, match="is not made of tokens of lower rank"):
        vocabulary_files._split_by_ranks(b"abc", {**ranks, b"ab": 5})


def test_documents_of_a_range_are_those_with_a_token_in_it() -> None:
    """Against a list, at every pair of places: of two files, one document without text, empty ranges."""
    lengths = [[3, 0, 2], [1, 4]]
    spans = [
        (pa.array([f"{index}.{n}" for n in range(len(each))]), np.cumsum(each))
        for index, each in enumerate(lengths)
    ]
    split = SimpleNamespace(
        files=[SimpleNamespace(batch="x"), SimpleNamespace(batch="y")],
        _file_starts=np.array([0, 5, 10]),
        file_spans=lambda index: spans[index],
    )
    whole = [("0.0", 0, 3), ("0.2", 3, 5), ("1.0", 5, 6), ("1.1", 6, 10)]
    for start in range(11):
        for stop in range(start, 11):
            found = TokenSplit.documents(cast(Any, split), start, stop)
            assert [(each.doc_id, each.start, each.stop) for each in found] == [
                (name, max(begin, start), min(end, stop))
                for name, begin, end in whole
                if max(begin, start) < min(end, stop)
            ]


def test_so_many_maps_stay_open_and_the_oldest_goes_first() -> None:
    maps = row_groups.Maps()
    maps.most = 2
    mapped = {number: np.zeros(1) for number in range(4)}
    for number in range(3):
        maps.hold(f"file{number}", None, mapped, number)
    maps.hold("file2", None, mapped, 3)
    assert list(mapped) == [1, 2, 3]
    assert len(maps) == 2


@pytest.mark.parametrize(
    ("limit", "kept"), [(8, [1]), (15, [1]), (16, [0, 1]), (24, [0, 1]), (1, [1])]
)
def test_decoded_tokens_stay_up_to_a_size_and_the_last_ones_always(
    limit: int, kept: list[int]
) -> None:
    segments = SimpleNamespace(_decoded=OrderedDict(), _decoded_size=0, _decoded_bytes=limit)
    for index in range(2):
        row_groups.Segments._keep(cast(Any, segments), index, np.zeros(8, np.uint8))
    assert list(segments._decoded) == kept
    assert segments._decoded_size == 8 * len(kept)


def test_a_cache_has_a_byte_at_least(tmp_path: Any) -> None:
    assert TokenCache(tmp_path, 1).limit_bytes == 1
    with pytest.raises(InputError, match="expected at least 1"):
        TokenCache(tmp_path, 0)
