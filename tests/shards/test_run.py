from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from xxhash import xxh3_128_hexdigest

from corpus.errors import InputError
from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from corpus.tables.schemas import part_of_id
from shards import pin_tokenizer, run, tokenizer_sample
from shards.reader import IGNORED, PackedStream, open_split, packed_fields, weigh
from shards.split import is_validation
from shards.stream.sources import Source, read_facts, selection
from shards.tokenizer import encode, vocabulary
from shards.tokenizer.encode import load_tokenizer
from shards.write_step import cut_text, kept_pieces
from tests.support.document_corpus import Doc, arguments, commit_batch, documents, make_shards
from tests.support.tokenizer_shapes import shape
from webtext import cli
from webtext.inspection import explain_text
from webtext.inspection.page_history import TokenPosition


def files(root: Path) -> dict[str, bytes]:
    """All bytes this stage made, by path; manifests apart (they tell the time)."""
    return {
        str(path.relative_to(root)).removeprefix("earlier/"): path.read_bytes()
        for folder in ("tokens", "spans", "snapshots", "tokenizer", "earlier")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and path.name != "_manifest.json"
    }


def sample(store: Store, batches: list[str], sample_bytes: int, seed: int = 0) -> list[str]:
    return list(
        tokenizer_sample.sample_texts(
            store, batches, sample_bytes=sample_bytes, seed=seed, val_frac=0.2
        )
    )


def test_every_kept_document_is_in_its_split_word_for_word(tmp_path: Path) -> None:
    docs = documents(80)
    docs.append(Doc("", doc_id=xxh3_128_hexdigest(b"empty")))
    docs.append(Doc("<|endoftext|> stays", doc_id=xxh3_128_hexdigest(b"special")))
    docs.append(
        Doc("keep CUT keep 🙂 CUT", cuts=[(5, 9), (16, 19)], doc_id=xxh3_128_hexdigest(b"cut"))
    )
    root = str(tmp_path / "corpus")
    store = commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    encoder = load_tokenizer(store)
    snapshot = read_snapshot(store, "b1")
    kept = {doc.doc_id: cut_text(doc.text, list(doc.cuts)) for doc in docs if doc.kept}
    assert kept[xxh3_128_hexdigest(b"cut")] == "keep keep 🙂 "
    assert read_table(store, "spans", "b1").num_rows == len(kept)
    seen = set()
    for name in ("train", "val"):
        split = open_split(root, "b1", name)  # type: ignore[arg-type]
        for part in split.documents(0, split.num_tokens):
            ids = split.slice(part.start, part.stop).tolist()
            assert ids[-1] == encoder.end_of_text
            # Pieces between cuts are documents of their own.
            ends = [at for at, each in enumerate(ids) if each == encoder.end_of_text]
            starts = [0, *(end + 1 for end in ends[:-1])]
            pieces = [encoder.decode(ids[a:b]) for a, b in zip(starts, ends, strict=True)]
            assert "".join(pieces) == kept[part.doc_id]
            assert len(pieces) == 1 + (part.doc_id == xxh3_128_hexdigest(b"cut"))
            assert is_validation([part.doc_id], 0.2)[0] == (name == "val")
            seen.add(part.doc_id)
        assert snapshot.splits[name].num_tokens == split.num_tokens  # type: ignore[index]
    assert seen == {doc_id for doc_id, text in kept.items() if text}
    assert sum(part.num_bytes for part in snapshot.splits.values()) == sum(
        len(t.encode()) for t in kept.values()
    )
    assert sum(part.num_documents for part in snapshot.splits.values()) == len(kept)


def test_documents_without_text_have_no_tokens(tmp_path: Path) -> None:
    """Empty ones and those cut away whole: first, last, side by side, and all of a part."""
    ids = sorted(xxh3_128_hexdigest(f"{number}".encode()) for number in range(60))
    texts = ["" if n < 25 or n % 3 == 0 or n > 55 else "word " * (n % 7 + 1) for n in range(60)]
    docs = [
        Doc(
            text or "CUT" * (number % 2),
            cuts=[(0, 3)] if number % 2 and not text else (),
            doc_id=doc_id,
            domain="ab"[number % 2] + ".org",
            score=number % 5,
        )
        for number, (doc_id, text) in enumerate(zip(ids, texts, strict=True))
    ]
    root = str(tmp_path / "corpus")
    store = commit_batch(root, "b1", docs)
    make_shards(root, "b1", "--set", "shards.writer.val_frac=0")
    spans = read_table(store, "spans", "b1").to_pylist()
    lengths = {row["doc_id"]: row["num_tokens"] for row in spans}
    assert [doc_id for doc_id in ids if not lengths[doc_id]] == [
        doc_id for doc_id, text in zip(ids, texts, strict=True) if not text
    ]
    assert sum(lengths.values()) == read_snapshot(store, "b1").splits["train"].num_tokens

    split = open_split(root, "b1", "train")
    tokens = split.slice(0, split.num_tokens)
    end = split.end_of_text
    assert tokens[0] != end
    assert not ((tokens[1:] == end) & (tokens[:-1] == end)).any()
    found = [part.doc_id for part in split.documents(0, split.num_tokens)]
    assert found == [doc_id for doc_id in ids if lengths[doc_id]]

    weighted = weigh(split, "score")
    facts = read_facts(split.store, split.files, ())
    chosen = selection(Source(weight=1, domains=["a.org"]), split, set(), facts)
    for source in (split, weighted, chosen):
        packed = PackedStream(source, block_size=24, seed=1)
        labels = packed_fields(packed.next_batch(packed.num_blocks), end).labels
        firsts = sum(lengths[part.doc_id] > 0 for part in source.documents(0, source.num_tokens))
        assert (labels != IGNORED).sum() == source.num_tokens - firsts

    assert cli.main(["verify", "--corpus", root]) == 0
    nothing = TokenPosition("train", "part", start=64, num_tokens=0, row_tokens=64, row_group=1)
    assert nothing.rows == (1, 1)
    assert "nothing is left of its text" in explain_text.position_lines(nothing, [])[1]


def test_a_file_holds_its_part_in_order_and_ends_padded(built: str) -> None:
    import pyarrow.parquet as pq

    manifest = read_manifest(open_store(built), "tokens", "b1")
    for part in manifest.parts:
        path = f"{built}/tokens/b1/{part.file}"
        file = pq.ParquetFile(path)
        assert file.schema_arrow.field("tokens").type == pa.binary(128)
        assert not file.schema_arrow.field("tokens").nullable
        tokens = np.frombuffer(b"".join(file.read()["tokens"].to_pylist()), "<u2")
        assert len(tokens) == part.rows * 64
        assert (tokens[part.metadata["num_tokens"] :] == 50256).all()
        spans = pq.read_table(f"{built}/spans/b1/{part.file}").to_pylist()
        assert [row["doc_id"] for row in spans] == sorted(row["doc_id"] for row in spans)
        assert {part_of_id(row["doc_id"], 3) for row in spans} <= {int(part.file[-13:-8])}
        position = 0
        for row in spans:
            assert row["start"] == position
            position += row["num_tokens"]
        assert position == part.metadata["num_tokens"]


def test_same_bytes_for_any_workers(tmp_path: Path) -> None:
    sets = ["--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300"]
    made = []
    for name, extra in (("one", []), ("two", ["--executor", "pool", "--workers", "2"])):
        root = tmp_path / name
        commit_batch(str(root), "b1", documents(60))
        make_shards(str(root), "b1", *sets, *extra)
        made.append(files(root))
    assert made[0] == made[1]
    assert len(made[0]) == 16, "one of them is the list of files that the snapshot refers to"


def test_running_again_changes_nothing_and_rebuilding_keeps_the_old_snapshot(
    tmp_path: Path,
) -> None:
    root = tmp_path / "corpus"
    commit_batch(str(root), "b1", documents(60))
    make_shards(str(root), "b1")
    before, snapshot = files(root), read_snapshot(open_store(str(root)), "b1")
    make_shards(str(root), "b1")
    assert files(root) == before
    other = ["--set", "shards.writer.val_frac=0.5"]
    assert run.main(arguments(str(root), "b1", *other)) == 2
    assert run.main(arguments(str(root), "b1", *other, "--rebuild")) == 2  # the name b1 is taken
    assert run.main(arguments(str(root), "b1", *other, "--snapshot", "half")) == 0
    after = files(root)
    named = [each.path for split in snapshot.splits.values() for each in split.files]
    assert named
    for path in named:
        assert after.get(f"earlier/{path}", after.get(path)) == before[path]
    counts = [open_split(str(root), name, "val").num_tokens for name in ("b1", "half")]
    assert counts[0] < counts[1]
    open_split(str(root), "b1", "train").verify()


def test_second_batch_is_a_longer_snapshot_over_the_same_files(
    built: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(built)
    first, second = read_snapshot(store, "b1"), read_snapshot(store, "b2")
    assert second.parents == ["b1"]
    assert (
        second.splits["train"].files[: len(first.splits["train"].files)]
        == first.splits["train"].files
    )
    assert [batch.batch for batch in second.batches] == ["b1", "b2"]
    assert run.main(arguments(built, "b2", "--snapshot", "b1")) == 2
    assert "with batches ['b1'], not one that ends with 'b2'" in capsys.readouterr().err
    for split in ("train", "val"):
        of_batches = [batch.splits[split].num_tokens for batch in second.batches]  # type: ignore[index]
        assert sum(of_batches) == second.splits[split].num_tokens  # type: ignore[index]


def test_the_tokenizer_is_pinned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "corpus")
    commit_batch(root, "b1", documents(60))
    train = ["--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300"]
    make_shards(root, "b1", *train, "--snapshot", "first")
    found = load_tokenizer(open_store(root))
    assert found.vocab_size == 300
    assert found.end_of_text == 299
    commit_batch(root, "b2", documents(60, seed=1))
    for change in (
        ["--set", "shards.tokenizer.source=gpt2"],
        [*train, "--set", "shards.tokenizer.seed=1"],
    ):
        assert run.main(arguments(root, "b2", *change)) == 2
        assert "never changes" in capsys.readouterr().err
    make_shards(root, "b2", *train, "--snapshot", "both")
    assert load_tokenizer(open_store(root)).fingerprint == found.fingerprint
    assert read_snapshot(open_store(root), "both").parents == ["first"]
    open_store(root).write_bytes(encode.TOKENIZER_PATH, vocabulary.gpt2().to_json().encode())
    assert run.main(arguments(root, "b2", *train)) == 2
    assert f"it was pinned with {found.fingerprint}" in capsys.readouterr().err
    record = open_store(root).read_json(pin_tokenizer.RECORD_PATH)
    assert 0 < record["sampled_documents"] < 60
    assert record["sampled_bytes"] > 0


def test_sample_stays_below_its_limit(built: str) -> None:
    store = open_store(built)
    for limit in (1, 2000, 10_000):
        config = pin_tokenizer.TokenizerConfig(source="train", sample_bytes=limit)
        texts = sample(store, ["b1"], config.sample_bytes)
        assert sum(len(text.encode()) for text in texts) <= limit
    assert texts
    assert texts != sample(store, ["b1"], 10_000, seed=1)


def test_the_sample_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    """Whatever is dropped, in however many parts the batch lies, and over several batches."""
    docs = documents(120)
    for doc in docs[:90]:
        doc.kept = False
    first, second = (
        commit_batch(str(tmp_path / str(parts)), "b1", docs, num_parts=parts) for parts in (1, 7)
    )
    everything = sample(first, ["b1"], 1 << 30)
    total = sum(len(text.encode()) for text in everything)
    for wanted in (total // 3, total // 2, total - 1):
        texts = sample(first, ["b1"], wanted)
        assert wanted - 4 < sum(len(text.encode()) for text in texts) <= wanted
        assert texts == sample(second, ["b1"], wanted)
        assert all(text in everything for text in texts[:-1])
    for store in (first, second):
        commit_batch(store.root, "b2", documents(50, seed=1))
    both = sample(first, ["b1", "b2"], total)
    assert both == sample(second, ["b2", "b1"], total)
    assert set(both) & set(everything)
    assert set(both) - set(everything)


def test_a_tokenizer_is_trained_on_several_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "corpus")
    for number, batch in enumerate(("b1", "b2", "b3")):
        store = commit_batch(root, batch, documents(40, seed=number))
    sets = [
        "--set",
        "shards.tokenizer.vocab_size=300",
        "--set",
        "shards.tokenizer.sample_bytes=9000",
    ]
    command = ["tokenizer", "train", "--corpus", root, "--batches", "b3", "b1", *sets]
    assert cli.main(command) == 0
    record = store.read_json(pin_tokenizer.RECORD_PATH)
    assert record["batches"] == ["b1", "b3"]
    assert 8990 < record["sampled_bytes"] <= 9000
    assert cli.main(command) == 2
    assert "never changes" in capsys.readouterr().err
    make_shards(root, "b2", *sets, "--set", "shards.tokenizer.source=train")
    assert load_tokenizer(store).fingerprint == record["fingerprint"]
    assert cli.main([*command[:-4], "--batches", "b9"]) == 2


@pytest.mark.parametrize("name", ["llama3", "neox", "llama2", "roberta"])
def test_a_corpus_keeps_all_of_its_tokenizer_and_needs_no_other_file(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document, end_of_text = shape(name)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    root = str(tmp_path / "corpus")
    store = commit_batch(root, "b1", documents(30))
    sets = ["--set", f"shards.tokenizer.source={path}"]
    if end_of_text != "<|endoftext|>":
        assert run.main(arguments(root, "b1", *sets)) == 2
        assert "shards.tokenizer.end_of_text" in capsys.readouterr().err
        sets += ["--set", f"shards.tokenizer.end_of_text={end_of_text}"]
    make_shards(root, "b1", *sets)
    assert store.read_json(encode.TOKENIZER_PATH) == document
    path.unlink()
    commit_batch(root, "b2", documents(30, seed=1))
    make_shards(root, "b2", *sets)
    assert run.main(arguments(root, "b2", "--set", "shards.tokenizer.source=/other.json")) == 2
    assert "a corpus never changes its tokenizer" in capsys.readouterr().err

    tokenizer = load_tokenizer(store)
    texts = {
        row["doc_id"]: row["text"]
        for batch in ("b1", "b2")
        for row in read_table(store, "documents", batch, ["doc_id", "text"]).to_pylist()
    }
    split = open_split(root, "b2", "train")
    for part in split.documents(0, split.num_tokens):
        ids = split.slice(part.start, part.stop).tolist()
        assert ids.count(tokenizer.end_of_text) == 1
        assert tokenizer.document_text(ids) == texts[part.doc_id]


def test_the_sample_has_no_passage_that_was_cut_out(tmp_path: Path) -> None:
    docs = [
        Doc(
            "a leaked passage, and the rest",
            cuts=[(0, 18)],
            doc_id=xxh3_128_hexdigest(str(n).encode()),
        )
        for n in range(20)
    ]
    store = commit_batch(str(tmp_path / "corpus"), "b1", docs)
    assert set(sample(store, ["b1"], 10_000)) == {"and the rest"}


def test_a_kill_while_the_tokenizer_is_pinned_loses_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "corpus")
    store = commit_batch(root, "b1", documents(60))
    train = ["--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300"]
    for name in ("create_exclusive", "write_json"):
        whole = getattr(Store, name)

        def killed(store: Store, path: str, data: Any, whole: Any = whole) -> Any:
            done = whole(store, path, data)
            if path.startswith("tokenizer/"):
                raise KeyboardInterrupt
            return done

        with monkeypatch.context() as patch:
            patch.setattr(Store, name, killed)
            assert run.main(arguments(root, "b1", *train)) == 130
        make_shards(root, "b1", *train)
        record = store.read_json(pin_tokenizer.RECORD_PATH)
        assert record["fingerprint"] == load_tokenizer(store).fingerprint
        assert record["sampled_documents"] > 0
        for folder in ("tokenizer", "tokens", "spans", "snapshots"):
            store.delete_dir(folder)


def test_the_sample_ends_where_its_words_would_take_too_much_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = ["the same words again"] * 50 + [f"serial number {number}" for number in range(1000)]
    limit = tokenizer_sample.BYTES_PER_NEW_BYTE * 300
    taken = list(tokenizer_sample.within_memory(texts, limit))
    assert taken == texts[: len(taken)]
    words = {word for text in taken for word in text.split()}
    assert 290 < sum(map(len, words)) <= 300
    assert "memory_bytes" in caplog.text
    assert list(tokenizer_sample.within_memory(texts[:50], limit)) == texts[:50]


def test_training_gives_a_vocabulary_that_spells_anything() -> None:
    from shards.tokenizer.encode import Tokenizer

    found = pin_tokenizer.train(["low lower lowest newer newest wide"] * 10, 270)
    encoder = Tokenizer(found)
    assert found.size == 270
    assert len(encoder.encode("lower newest")) < 6
    assert encoder.decode(encoder.encode("日本\x00 é")) == "日本\x00 é"
    assert pin_tokenizer.train(["aa"], 5000).size < 300


def test_large_vocabularies_are_32_bits_wide(tmp_path: Path) -> None:
    made = [(bytes([a]), bytes([b])) for a in range(256) for b in range(256)] + [(b"ab", b"cd")]
    large = vocabulary.from_merges(made)
    path = tmp_path / "tokenizer.json"
    path.write_text(large.to_json(), "utf-8")
    root = str(tmp_path / "corpus")
    docs = [Doc("abcd xyz", doc_id=xxh3_128_hexdigest(str(n).encode())) for n in range(20)]
    commit_batch(root, "b1", docs)
    make_shards(root, "b1", "--set", f"shards.tokenizer.source={path}")
    split = open_split(root, "b1", "train")
    assert split.dtype == np.uint32
    assert split.slice(0, split.num_tokens).max() == large.size - 1 > 65535
    decoded = load_tokenizer(open_store(root)).decode(split.slice(0, split.num_tokens).tolist())
    assert set(decoded.split("<|endoftext|>")) == {"abcd xyz", ""}


def test_the_tokenizer_sample_has_a_blank_line_at_seams(tmp_path: Path) -> None:
    """No word of a vocabulary is learned across a cut."""
    cuts = [(5, 9), (13, 17)]
    docs = [
        Doc("left CUT midd CUT right", cuts=cuts, doc_id=xxh3_128_hexdigest(str(n).encode()))
        for n in range(5)
    ]
    store = commit_batch(str(tmp_path / "corpus"), "b1", docs)
    assert set(sample(store, ["b1"], 1000)) == {"left\n\nmidd\n\nright"}


def test_cuts_outside_the_text_are_refused() -> None:
    for cuts in ([(0, 4)], [(2, 1)], [(1, 2), (0, 1)]):
        with pytest.raises(InputError, match="not ascending ranges"):
            cut_text("abc", cuts)


def test_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "corpus")
    commit_batch(root, "b1", documents(5), num_parts=1)
    for setting, message in [
        ("writer.val_frac=1", "val_frac"),
        ("writer.row_group_tokens=100", "multiple of row_tokens"),
        ("writer.compression=lzma", "compression"),
        ("tokenizer.vocab_size=256", "257"),
        ("tokenizer.source=/none.json", "No such file"),
        (f"tokenizer.sha256={'0' * 64}", "source 'gpt2' is no file"),
    ]:
        assert run.main(arguments(root, "b1", "--set", f"shards.{setting}")) == 2
        assert message in capsys.readouterr().err
    make_shards(root, "b1", "--set", "shards.writer.val_frac=0")
    assert "no document fell to validation" in capsys.readouterr().err


def test_the_validation_share_is_that_of_the_first_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a page is validation in one batch and trained on in another."""
    root = str(tmp_path / "corpus")
    for number, batch in enumerate(("b1", "b2")):
        commit_batch(root, batch, documents(30, seed=number))
    make_shards(root, "b1")
    other = ["--set", "shards.writer.val_frac=0.4"]
    assert run.main(arguments(root, "b2", *other)) == 2
    assert "val_frac = 0.4, batch 'b1' has 0.2" in capsys.readouterr().err
    make_shards(root, "b2")
    make_shards(root, "b1", *other, "--rebuild", "--snapshot", "s1")
    assert run.main(arguments(root, "b2", "--snapshot", "mixed")) == 2
    assert "batch 'b1' has 0.4" in capsys.readouterr().err
    make_shards(root, "b2", *other, "--rebuild", "--snapshot", "s2")


def test_seams_of_a_page() -> None:
    cuts = [{"start": 4, "end": 6}, {"start": 9, "end": 11}]
    documents = pa.table({"doc_id": ["a", "b", "c"], "text": ["one XX 2 YYend", "whole", "gone"]})
    verdicts = pa.table(
        {
            "doc_id": ["a", "b", "c"],
            "kept": [True, True, False],
            "cuts": pa.array(
                [cuts, [], []], pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
            ),
        }
    )
    doc_ids, pieces, counts = kept_pieces(documents, verdicts, "documents")
    assert doc_ids.to_pylist() == ["a", "b"]
    assert (pieces.to_pylist(), counts.tolist()) == (["one ", " 2 ", "end", "whole"], [3, 1])
    _, pieces, counts = kept_pieces(documents, verdicts, "paragraphs")
    assert (pieces.to_pylist(), counts.tolist()) == (["one\n\n2\n\nend", "whole"], [1, 1])


def test_the_summary_gives_tokens_no_share_of_the_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """16 tokens of 40 documents were 40.0 %."""
    root = str(tmp_path / "corpus")
    commit_batch(root, "b1", [Doc("a", doc_id=f"{number:032x}") for number in range(40)])
    make_shards(root, "b1")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    shares = {line[0]: line[2:] for line in lines if line}
    assert shares["tokens:train"] == shares["tokens:val"] == []
    assert shares["train_documents"][0].endswith("%")
