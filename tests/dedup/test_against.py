"""Documents that exist elsewhere remove what an earlier batch of them would."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from corpus import json_values
from corpus.errors import InputError, SchemaError
from corpus.storage.store import manifest_path, table_dir
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import part_paths
from dedup import doc_ids, review
from dedup.against import documents, sources, steps
from dedup.config import DedupConfig
from dedup.near_duplicates import lsh
from tests.dedup.made import MadeCorpus, Page, place_of
from tests.dedup.test_leaks import prose
from tests.dedup.test_run import SMALL, pages_of_families
from tests.support.document_corpus import token_corpus
from webtext.inspection.explain import _survivor
from webtext.inspection.explain_text import _verdict_lines
from webtext.inspection.page_history import PageHistory
from webtext.verify.checks import duplicate_problems

New = Callable[[], MadeCorpus]


def against(*given: str | Path) -> tuple[str, str]:
    return "--set", f"dedup.against={json.dumps([str(each) for each in given])}"


def write_files(folder: Path, texts: Sequence[str]) -> dict[str, int]:
    """The texts in files of three kinds; the place of each document by its name."""
    third = len(texts) // 3
    pieces = {
        "a.parquet": texts[:third],
        "b.jsonl.gz": texts[third : 2 * third],
        "c/d.jsonl.zst": texts[2 * third :],
    }
    names = {}
    for key, here in pieces.items():
        path = folder / key
        path.parent.mkdir(exist_ok=True, parents=True)
        lines = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in here)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"text": pa.array(here, pa.string())}), path, row_group_size=2)
        else:
            pack = gzip.compress if path.suffix == ".gz" else zstandard.ZstdCompressor().compress
            path.write_bytes(pack(lines))
        for row in range(len(here)):
            names[f"{folder.name}/{key}#{row + 1}"] = len(names)
    return names


@settings(max_examples=2)
@given(st.integers(0, 2**32))
def test_known_documents_remove_what_an_earlier_batch_of_them_would(seed: int) -> None:
    generator = random.Random(seed)
    pages = pages_of_families(seed, 50)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lsh, "FULL_BUCKET", generator.choice([2, 24]))
        patch.setattr(lsh, "LEADERS", 1)
        patch.setattr(sources, "TASK_BYTES", 100)
        patch.setattr(steps, "DOCUMENTS_PER_BUCKET", generator.choice([1, 2]))
        patch.setattr(sources, "BYTES_PER_DOCUMENT", 20)
        patch.setattr(documents, "SLICE_ROWS", generator.choice([1, 3]))
        whole = MadeCorpus(Path(folder, "whole"))
        whole.add("old", pages[:25], 1)
        assert whole.dedup("old", *SMALL) == 0
        kept = [page for page in pages[:25] if whole.verdicts("old").get(page.id, {}).get("kept")]
        kept.sort(key=lambda page: place_of(page, 2))
        whole.add("new", pages[25:], 2)
        assert whole.dedup("new", *SMALL) == 0

        # A copy of a known document changes nothing: the first one is named.
        texts = [page.text for page in kept]
        place = write_files(Path(folder, "known"), [*texts, *texts[:2]])
        alone = MadeCorpus(Path(folder, "alone"))
        alone.add("new", pages[25:], 3)
        assert alone.dedup("new", *SMALL, *against(Path(folder, "known"))) == 0

        found = {
            name: (*fate[:2], kept[place[fate[2]]].id if fate[2] in place else fate[2], fate[3])
            for name, fate in alone.fates("new").items()
        }
        assert found == whole.fates("new")
        assert duplicate_problems(alone.store, "new", [], []) == []


def test_passages_of_known_documents_are_cut(made_corpus: New, tmp_path: Path) -> None:
    on = ("--set", "dedup.passages.min_words=8", "--set", "dedup.passages.anywhere=true")
    generator = random.Random(1)
    shared, *unlike = (prose(generator, size) for size in (60, 40, 40, 40))
    old, new = (
        [Page(f"{unlike[0]}\n\n{shared}")],
        [Page(f"{unlike[1]} {shared}"), Page(unlike[2])],
    )
    whole, alone = made_corpus(), made_corpus()
    whole.add("old", old)
    whole.add("new", new)
    alone.add("new", new)
    assert whole.dedup("old", *on) == whole.dedup("new", *on) == 0
    (tmp_path / "known.jsonl").write_text(json.dumps({"body": old[0].text}))
    assert alone.dedup("new", *on, *against(f"{tmp_path}/known.jsonl?text=body")) == 0
    assert alone.verdicts("new") == whole.verdicts("new")
    assert whole.verdicts("new")[new[0].id]["cuts"]


def test_another_corpus_is_known_by_a_snapshot(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept pages count, with their ids as names; dropped ones do not."""
    other, corpus = made_corpus(), made_corpus()
    near = "a b c d e f g h"
    other.add("b", [Page(near, 9, f"{1:032x}"), Page(f"{near} i", 3, f"{2:032x}")])
    assert other.dedup("b", *SMALL) == 0
    token_corpus(str(other.root), np.arange(3), "b")
    # Near the dropped page only, and with the id of the page that it repeats.
    pages = [Page("e f g h i", 3, f"{3:032x}"), Page(f"{near} j", 3, f"{1:032x}")]
    corpus.add("b", pages, 1)
    assert corpus.dedup("b", *SMALL, *against(other.root)) == 2
    assert "?snapshot=NAME" in capsys.readouterr().err

    given = against(f"{other.root}?snapshot=b")
    assert corpus.dedup("b", *SMALL, *given) == 0
    name = f"{other.root.name}#{1:032x}"
    assert {key: fate[2] for key, fate in corpus.fates("b").items()} == {
        pages[0].id: None,
        pages[1].id: name,
    }
    assert f"({name})\n{near}" in review.explanation(corpus.store, "b", pages[1].id)
    assert f"elsewhere: {name}" in review.sample(corpus.store, "b", 1)
    assert duplicate_problems(corpus.store, "b", [], []) == []
    path = manifest_path(table_dir("verdicts", "b"))
    written = corpus.store.read_bytes(path)
    corpus.store.write_bytes(path, written.replace(b'"against",', b'"dump",'))
    (problem,) = duplicate_problems(corpus.store, "b", [], [])
    assert f"in no source of dedup.against ({name})" in problem
    corpus.store.write_bytes(path, written)

    verdict = corpus.verdicts("b")[pages[1].id]
    history = PageHistory("", None, verdict=verdict, survivor=_survivor(corpus.store, name, []))
    assert any("outside the corpus" in line for line in _verdict_lines(history))
    report = corpus.store.read_json("reports/dedup-b.json")
    assert report["elsewhere"] == [{"source": other.root.name, "removed": 1}]
    # Settings of the other corpus are not followed, and its bands not read.
    assert [each.table for each in read_manifest(corpus.store, "verdicts", "b").inputs].count(
        "against"
    ) == 2
    for path in part_paths(other.store, "bands", "b"):
        other.store.delete(path)
    assert corpus.dedup("b", *SMALL, *given) == 0

    # A snapshot of what is no longer there.
    other.store.delete("tokens/b/_manifest.json")
    with pytest.raises(InputError, match="was rebuilt or removed since snapshot 'b'"):
        sources.known_files([f"{other.root}?snapshot=b"])


def test_a_changed_or_missing_file_is_refused(
    made_corpus: New, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    corpus.add("b", [Page("a b c d e f g h")], 1)
    known = tmp_path / "known.jsonl"
    known.write_text('{"text": "something else"}\n')
    assert corpus.dedup("b", *SMALL, *against(known)) == 0
    assert corpus.dedup("b", *SMALL, *against(known)) == 0
    known.write_text('{"text": "a b c d e f g h"}\n\n')
    assert corpus.dedup("b", *SMALL, *against(known)) == 2
    assert "known documents known.jsonl changed since" in capsys.readouterr().err
    assert corpus.dedup("b", *SMALL, *against(known), "--rebuild") == 0
    assert [row["duplicate_of"] for row in corpus.verdicts("b").values()] == ["known.jsonl#1"]
    known.unlink()
    assert corpus.dedup("b", *SMALL, *against(known)) == 2
    assert str(known) in capsys.readouterr().err


def test_ids_tell_the_place_of_a_document() -> None:
    """And ascend with it, for any sizes of files."""
    for total, first, prefixes in ((1, 0, 1), (10**10, 2**32 - 5, 5), (3, 7, 2**31)):
        file = sources.KnownFile(
            **dict.fromkeys(("root", "key", "label", "text", "fingerprint"), ""),
            number=2**23 - 1,
            kind="parquet",
            first_prefix=first,
            prefixes=prefixes,
            rows=total,
        )
        rows = np.unique([0, total // 2, total - 1])
        found = documents.ids(file, rows)
        assert (np.sort(found) == found).all()
        assert documents.places(found)[1].tolist() == rows.tolist()
        assert (documents.places(found)[0] == 2**23 - 1).all()
        assert (doc_ids.parts(found, 2**16) >= 0).all()


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_source_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    signed = parquet(tmp_path / "s.parquet", id=["x"], hashvalues=[[1, 2]])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not one")
    (tmp_path / "empty").mkdir()
    for path, said in (
        (signed, "no column 'text'; present: id, hashvalues"),
        (f"{signed}?text=hashvalues", "Signatures cannot be compared"),
        (tmp_path / "bad.parquet", "cannot be read"),
        (tmp_path / "empty", "no Parquet or JSON-lines file there"),
        (tmp_path / "nowhere", "nowhere"),
        (f"{tmp_path}/nowhere?snapshot=x", "no corpus there"),
    ):
        with pytest.raises(InputError, match=said):
            sources.known_files([str(path)])
    for wrong in (["a/x", "b/x"], ["x?text="], ["x?text=a&snapshot=b"], ["?text=a"], "x"):
        with pytest.raises(ValidationError):
            DedupConfig.model_validate({"against": wrong})


def test_a_corpus_is_no_source_of_its_own(
    made_corpus: New, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every page of the batch would have gone, as a document that is known."""
    corpus = made_corpus()
    corpus.add("b", [Page("a b c d e f g h", 9, f"{1:032x}")])
    assert corpus.dedup("b", *SMALL) == 0
    token_corpus(str(corpus.root), np.arange(3), "b")
    link = tmp_path / "link"
    link.symlink_to(corpus.root)
    for own in (f"{corpus.root}?snapshot=b", f"{link}/?snapshot=b", f"{corpus.root}/exports/x"):
        assert corpus.dedup("b", *SMALL, "--rebuild", *against(own)) == 2
        assert "itself, whose earlier batches are compared anyway" in capsys.readouterr().err
    beside = Path(f"{corpus.root}-2.jsonl")
    beside.write_text('{"text": "x"}')
    assert corpus.dedup("b", *SMALL, "--rebuild", *against(beside)) == 0


def test_hostile_lines_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "MAX_LINE_BYTES", 1000)
    for number, (lines, said) in enumerate(
        (
            (b"[" * 900, "line 1 is not JSON"),
            (b'{"text": "a"}\n7', "line 2 is int"),
            (b'{"text": 3}', "holds int"),
            (b'{"other": "a"}', "no field 'text'; present: other"),
            (b'{"text": "' + b"a" * 2000, "more than 1,000 bytes"),
        )
    ):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(lines)
        with pytest.raises(SchemaError, match=said):
            read(path)
        packed = tmp_path / f"{number}.jsonl.gz"
        packed.write_bytes(gzip.compress(lines)[:-9])
        with pytest.raises(SchemaError):
            read(packed)

    (tmp_path / "fine.jsonl").write_text('{"text": null}\n\n{"text": "\\ud800 half"}\n{"a": 1}')
    assert read(tmp_path / "fine.jsonl") == ["? half"]
    words = pa.array(["x", None, "x"]).dictionary_encode()
    assert read(parquet(tmp_path / "d.parquet", text=words)) == ["x", "x"]


def read(path: Path) -> list[str]:
    (encoded,) = sources.known_files([str(path)])
    return [
        text
        for _, texts in documents.read_texts(sources.decode(encoded))
        for text in texts.to_pylist()
    ]


def test_a_cut_file_and_links_are_not_taken_for_all_there_is(tmp_path: Path) -> None:
    """Public sets end in .json.gz too."""
    cut = tmp_path / "cut.jsonl.zst"
    cut.write_bytes(zstandard.compress(b'{"text": "x"}\n' * 9)[:-3])
    with pytest.raises(SchemaError, match="ends inside a zstd frame"):
        read(cut)
    whole = tmp_path / "c4-train.00000-of-01024.json.gz"
    whole.write_bytes(gzip.compress(b'{"text": "x"}\r\n'))
    assert read(whole) == ["x"]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "a.jsonl").symlink_to(cut)
    with pytest.raises(InputError, match="Links out of the folder"):
        sources.known_files([str(tmp_path / "hub")])


def test_a_document_is_found_again_by_a_name_with_the_mark(tmp_path: Path) -> None:
    folder = tmp_path / "known"
    folder.mkdir()
    (folder / "c#1.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    files = sources.known_files([str(folder)])
    ids = documents.ids(sources.decode(files[0]), np.array([1]))
    assert documents.names(files, ids) == ["known/c#1.jsonl#2"]
    assert documents.find_text([str(folder)], "known/c#1.jsonl#2") == "two"
    assert documents.find_text([str(folder)], "known/c#1.jsonl#0") is None
    assert documents.find_text([str(folder)], "known/c#1.jsonl#3") is None


@pytest.mark.parametrize(
    ("rows", "first", "prefixes"), [(1, 5, 1), (7, 5, 3), (7, 0, 1 << 32), (1000, 9, 100)]
)
def test_ids_of_known_documents_are_spread_over_their_range(
    rows: int, first: int, prefixes: int
) -> None:
    """Against whole numbers: 4 bytes of prefix, 4 of the row, 3 of the file, 5 of the row."""
    file = known(rows=rows, first_prefix=first, prefixes=prefixes, number=3)
    found = doc_ids.to_list(documents.ids(file, np.arange(rows)))
    for row, each in enumerate(found):
        prefix, high, number, low = (
            int.from_bytes(each[start:stop]) for start, stop in ((0, 4), (4, 8), (8, 11), (11, 16))
        )
        assert (high, number, low) == (row, 3, row)
        # Of floats, which may end just below a whole number.
        assert 0 <= first + row * prefixes // rows - prefix <= 1
    assert found == sorted(found)


def known(**changes: Any) -> sources.KnownFile:
    given = {"root": "r", "key": "k", "label": "l", "number": 0, "kind": "jsonl", "text": "text"}
    return sources.KnownFile(
        **{**given, "fingerprint": "f", "first_prefix": 0, "prefixes": 1, **changes}
    )  # type: ignore[arg-type]


def test_a_file_is_known_by_its_size_and_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "EDGE_BYTES", 4)
    path = tmp_path / "a.jsonl"

    def fingerprint(data: bytes) -> str:
        path.write_bytes(data)
        (encoded,) = sources.known_files([str(path)])
        return sources.decode(encoded).fingerprint

    whole = fingerprint(b"0123456789abcdef")
    assert fingerprint(b"0123---------def") != whole
    assert fingerprint(b"0123--------cdef") == whole
    assert fingerprint(b"012-456789abcdef") != whole
    assert fingerprint(b"0123456789abcdef ") != whole
    assert len({fingerprint(b"0123"[:size]) for size in range(1, 5)}) == 4


def test_a_text_is_found_by_its_own_name_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    given = [str(tmp_path / "a.jsonl")]
    (encoded,) = sources.known_files(given)
    where = sources.decode(encoded).where
    found = {
        last: documents.find_text(given, f"{where}{documents.MARK}{last}")
        for last in ("1", "2", "3", "0", "-1", "x", "", "\u00b2", "\u0661", "1.0")
    }
    assert {last: text for last, text in found.items() if text is not None} == {
        "1": "one",
        "2": "two",
    }
    assert documents.find_text(given, f"other{documents.MARK}1") is None
    assert documents.find_text(given, "1") is None
