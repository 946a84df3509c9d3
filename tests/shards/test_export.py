from __future__ import annotations

import itertools
import json
import pickle
import shutil
import struct
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.storage.store import open_store
from corpus.tables.commit import commit_table
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import RIGHTS, part_of_id
from shards import export
from shards.export_formats import to_litdata
from shards.reader import open_split
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import TOKENIZER_PATH, load_tokenizer
from tests.support.document_corpus import commit_batch, documents, make_shards
from tests.support.tokenizer_shapes import shape


def run(built: str, kind: str, out: Path) -> None:
    assert (
        export.main(["--corpus", built, "--snapshot", "b2", "--to", kind, "--out", str(out)]) == 0
    )


def test_nanogpt_maps_the_same_tokens(built: str, tmp_path: Path) -> None:
    run(built, "nanogpt", tmp_path)
    for name in ("train", "val"):
        split = open_split(built, "b2", name)  # type: ignore[arg-type]
        data = np.memmap(
            tmp_path / f"{name}.bin", dtype=np.uint16, mode="r"
        )  # as nanoGPT's get_batch
        assert np.array_equal(data, split.slice(0, split.num_tokens))


def test_llmc_reads_its_header_and_documents_begun_by_end_of_text(
    built: str, tmp_path: Path
) -> None:
    split = open_split(built, "b2", "train")
    paths = list(
        export.to_llmc(
            split, load_tokenizer(open_store(built)), open_store(str(tmp_path)), shard_tokens=7001
        )
    )
    assert len(paths) == -(-split.num_tokens // 7001)
    found = []
    for path in paths:  # as llm.c's dataloader: 256 int32, then as many uint16 as the third says
        data = (tmp_path / path).read_bytes()
        header = np.frombuffer(data[:1024], "<i4")
        assert header[0] == 20240520
        assert header[1] == 1
        tokens = np.frombuffer(data[1024:], "<u2")
        assert header[2] == len(tokens)
        found.append(tokens)
    tokens = np.concatenate(found)
    ours = split.slice(0, split.num_tokens)
    assert tokens[0] == split.end_of_text
    assert np.array_equal(tokens[1:], ours[:-1])


def test_files_of_an_earlier_export_are_not_taken_for_this_one(
    built: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train_000007.bin").write_bytes(b"of a larger snapshot")
    (tmp_path / "train-00000-of-00009.parquet").write_bytes(b"of another kind")
    arguments = ["--corpus", built, "--snapshot", "b2", "--to", "llmc", "--out", str(tmp_path)]
    assert export.main(arguments) == 1
    assert "1 files of another export lie there and would be read with it (train_000007.bin)" in (
        capsys.readouterr().err
    )
    (tmp_path / "train_000007.bin").unlink()
    capsys.readouterr()
    assert export.main([*arguments, "--json"]) == 0  # over its own files
    files = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    assert files == {path.name: path.stat().st_size for path in tmp_path.glob("*.bin")}


def test_a_flipped_byte_is_not_passed_on(
    built: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(built, tmp_path / "corpus")
    file = root / "tokens/b1/train/part-00001.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    out = tmp_path / "out"
    arguments = ["--corpus", str(root), "--snapshot", "b2", "--to", "nanogpt", "--out", str(out)]
    assert export.main(arguments) == 2
    assert "tokens/b1/train/part-00001.parquet: row group " in capsys.readouterr().err
    assert not out.exists()


def test_datasets_rows_are_the_documents(
    built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_PER_GROUP", 7)
    run(built, "datasets", tmp_path)
    texts = {
        row["doc_id"]: row["text"]
        for batch in ("b1", "b2")
        for row in read_table(open_store(built), "documents", batch, ["doc_id", "text"]).to_pylist()
    }
    rows = [
        row
        for path in sorted(tmp_path.glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    spans = [
        row
        for batch in ("b1", "b2")
        for row in read_table(open_store(built), "spans", batch).to_pylist()
        if row["num_tokens"]
    ]
    assert sorted(row["doc_id"] for row in rows) == sorted(row["doc_id"] for row in spans)
    tokenizer = load_tokenizer(open_store(built))
    for row in rows:
        assert row["text"] == texts[row["doc_id"]]
        assert row["input_ids"] == tokenizer.encode(row["text"])


def test_hugging_face_datasets_load_it(built: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip(
        "datasets", reason="a peer of the benches: bench/requirements-stream.txt"
    )
    run(built, "datasets", tmp_path)
    files = {split: str(tmp_path / f"{split}-*.parquet") for split in ("train", "val")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    for name in ("train", "val"):
        split = open_split(built, "b2", name)  # type: ignore[arg-type]
        ids = [token for row in loaded[name] for token in [*row["input_ids"], split.end_of_text]]
        assert ids == split.slice(0, split.num_tokens).tolist()


def test_mds_shards_by_their_layout(built: str, tmp_path: Path) -> None:
    split = open_split(built, "b2", "train")
    paths = list(
        export.to_mds(split, load_tokenizer(open_store(built)), open_store(str(tmp_path)), 5)
    )
    index = json.loads((tmp_path / paths.pop()).read_bytes())
    found = []
    for path, shard in zip(paths, index["shards"], strict=True):
        data = (tmp_path / path).read_bytes()
        assert shard["raw_data"] == {"basename": Path(path).name, "bytes": len(data), "hashes": {}}
        count = int(np.frombuffer(data, "<u4", 1)[0])
        offsets = np.frombuffer(data, "<u4", count + 1, 4)
        assert count == shard["samples"] <= 5
        assert offsets[-1] == len(data)
        found += [np.frombuffer(data[a:b], "<u2") for a, b in itertools.pairwise(offsets)]
    tokens = np.concatenate(found)
    assert len(tokens) == len(found) * 1024
    assert np.array_equal(tokens[: split.num_tokens], split.slice(0, split.num_tokens))
    assert (tokens[split.num_tokens :] == split.end_of_text).all()
    assert len(tokens) - split.num_tokens < 1024


def test_mosaicml_streams_it(built: str, tmp_path: Path) -> None:
    streaming = pytest.importorskip(
        "streaming", reason="a peer of the benches: bench/requirements-stream.txt"
    )
    run(built, "mds", tmp_path)
    for name in ("train", "val"):
        split = open_split(built, "b2", name)  # type: ignore[arg-type]
        dataset = streaming.LocalDataset(local=str(tmp_path / name))
        tokens = np.concatenate([dataset[index]["tokens"] for index in range(len(dataset))])
        assert tokens.dtype == np.uint16
        assert np.array_equal(tokens[: split.num_tokens], split.slice(0, split.num_tokens))
        assert (tokens[split.num_tokens :] == split.end_of_text).all()


def test_datasets_rows_have_the_answer_about_training(tmp_path: Path) -> None:
    """Of the batch with a table of rights, and of the pages that were asked about."""
    root = str(tmp_path / "corpus")
    batches = {"b1": documents(20), "b2": documents(20, seed=1)}
    for batch, docs in batches.items():
        store = commit_batch(root, batch, docs, num_parts=2)
        make_shards(root, batch)
    answers = {
        doc.doc_id: ("yes", "no", "unsaid")[number % 3]
        for number, doc in enumerate(batches["b2"][:15])
    }
    parts = []
    for index in range(2):
        rows = [
            {
                "doc_id": name,
                "training": answers[name],
                "signals": [],
                "evidence": [],
                "checked_at": 0,
            }
            for name in sorted(answers)
            if part_of_id(name, 2) == index
        ]
        table, path = pa.Table.from_pylist(rows, RIGHTS.schema), f"part-{index:05}.parquet"
        parts.append(write_part(store, RIGHTS.folder("b2"), path, RIGHTS, [table], index, 2))
    commit_table(store, RIGHTS, "b2", parts, num_parts=2)
    run(root, "datasets", tmp_path / "out")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    found = {row["doc_id"]: row["rights"] for table in tables for row in table.to_pylist()}
    kept = [doc.doc_id for docs in batches.values() for doc in docs if doc.kept]
    assert found == {name: answers.get(name) for name in kept}


def test_wide_vocabularies_do_not_fit_16_bits(built: str) -> None:
    split = open_split(built, "b2", "train")
    split.dtype = np.dtype(np.uint32)
    with pytest.raises(export.InputError, match="export with --to datasets"):
        next(export.to_nanogpt(split, load_tokenizer(open_store(built)), open_store(built)))


def test_another_tokenizer_than_the_snapshot_s_is_refused(
    built: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(built, tmp_path / "corpus")
    other = vocabulary.from_merges(vocabulary.gpt2().merges[:-1])
    (root / TOKENIZER_PATH).write_text(other.to_json(), "utf-8")
    out = tmp_path / "out"
    arguments = ["--corpus", str(root), "--snapshot", "b2", "--to", "datasets", "--out", str(out)]
    assert export.main(arguments) == 2
    message = capsys.readouterr().err
    assert other.fingerprint in message
    assert vocabulary.gpt2().fingerprint in message
    assert not out.exists()


def documents_of(built: str, name: str = "train") -> tuple[Any, list[list[int]]]:
    split = open_split(built, "b2", name)  # type: ignore[arg-type]
    parts = split.documents(0, split.num_tokens)
    return split, [split.slice(part.start, part.stop).tolist() for part in parts]


def test_megatron_reads_every_document(built: str, tmp_path: Path) -> None:
    """As `megatron.core.datasets.indexed_dataset` reads its index and gets a document."""
    run(built, "megatron", tmp_path)
    for name in ("train", "val"):
        _, expected = documents_of(built, name)
        index = (tmp_path / f"{name}.idx").read_bytes()
        assert index[:9] == b"MMIDIDX\x00\x00"
        assert struct.unpack("<QB", index[9:18]) == (1, 8)
        sequences, documents = struct.unpack("<QQ", index[18:34])
        lengths = np.frombuffer(index, np.int32, sequences, 34)
        pointers = np.frombuffer(index, np.int64, sequences, 34 + lengths.nbytes)
        starts = np.frombuffer(index, np.int64, documents, 34 + lengths.nbytes + pointers.nbytes)
        assert len(index) == 34 + lengths.nbytes + pointers.nbytes + starts.nbytes
        assert len(lengths) == starts[-1] == len(expected)
        data = np.memmap(tmp_path / f"{name}.bin", np.uint16, "r")
        found = [
            data[pointer // 2 : pointer // 2 + length].tolist()
            for pointer, length in zip(pointers, lengths, strict=True)
        ]
        assert found == expected


def test_datatrove_s_files_by_their_layout(built: str, tmp_path: Path) -> None:
    run(built, "datatrove", tmp_path)
    split, expected = documents_of(built)
    tokens = np.fromfile(tmp_path / "train/00000_tokens.ds", "<u2")
    ends = np.fromfile(tmp_path / "train/00000_tokens.ds.index", "<u8").tolist()
    assert [part.tolist() for part in np.split(tokens, ends[:-1])] == expected
    described, count, _ = (tmp_path / "train/00000_tokens.ds.metadata").read_text().split("\n")
    assert described.endswith("|2")
    assert int(count) == split.num_tokens == ends[-1]


def test_litdata_s_chunks_by_their_layout(built: str, tmp_path: Path) -> None:
    split = open_split(built, "b2", "train")
    paths = list(
        to_litdata(split, load_tokenizer(open_store(built)), open_store(str(tmp_path)), 5000)
    )
    index = json.loads((tmp_path / paths[-1]).read_bytes())
    found = []
    for path, chunk in zip(paths[:-1], index["chunks"], strict=True):
        data = (tmp_path / path).read_bytes()
        assert len(data) == chunk["chunk_bytes"]
        assert np.frombuffer(data, "<u4", 3).tolist() == [1, 12, len(data)]
        found.append(np.frombuffer(data, "<u2", offset=(1 + chunk["chunk_size"] + 1) * 4))
        assert len(found[-1]) == chunk["dim"]
    assert np.array_equal(np.concatenate(found), split.slice(0, split.num_tokens))


def test_litdata_streams_it(built: str, tmp_path: Path) -> None:
    litdata = pytest.importorskip(
        "litdata", reason="a peer of the benches: bench/requirements-stream.txt"
    )
    run(built, "litdata", tmp_path)
    split = open_split(built, "b2", "train")
    loader = litdata.streaming.item_loader.TokensLoader(block_size=100)
    dataset = litdata.StreamingDataset(str(tmp_path / "train"), item_loader=loader)
    assert dataset[3].tolist() == split.slice(300, 400).tolist()


def lengths(split: Any, tokenizer: Any, target: Any) -> Any:
    """An exporter of another package."""
    found = [each.stop - each.start for each in split.documents(0, split.num_tokens)]
    target.write_bytes(f"{split.name}.json", json.dumps(found).encode())
    yield f"{split.name}.json"


def test_a_format_of_another_package(
    built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("lengths", f"{__name__}:lengths", "webtext.exporters")
    monkeypatch.setattr("corpus.plugins.entry_points", lambda group, name="lengths": [point])
    run(built, "lengths", tmp_path)
    split = open_split(built, "b2", "train")
    assert sum(json.loads((tmp_path / "train.json").read_text())) == split.num_tokens


def test_numpy_loads_one_array(built: str, tmp_path: Path) -> None:
    run(built, "numpy", tmp_path)
    for name in ("train", "val"):
        split, _ = documents_of(built, name)
        found = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        assert found.dtype == np.uint16
        assert np.array_equal(found, split.slice(0, split.num_tokens))


def test_datasets_rows_say_where_a_document_is_from(built: str, tmp_path: Path) -> None:
    run(built, "datasets", tmp_path)
    tables = [pq.read_table(path) for path in sorted(tmp_path.glob("*.parquet"))]
    assert b"50256 ends every document" in tables[0].schema.metadata[b"webtext.end_of_text"]
    rows = [row for table in tables for row in table.to_pylist()]
    assert {row["batch"] for row in rows} == {"b1", "b2"}
    for row in rows:
        assert row["url"] == f"https://example.org/{row['doc_id']}"
        assert (row["score"], row["subreddit"], row["language"]) == (3, "test", "en")


def test_wide_vocabularies_in_every_format_that_takes_them(tmp_path: Path) -> None:
    """Llama 3's in shape: more ids than 16 bits, and a token before every document."""
    document, end = shape("llama3")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    root = str(tmp_path / "corpus")
    commit_batch(root, "b2", documents(60))
    settings = (f"source={path}", f"end_of_text={end}")
    make_shards(
        root, "b2", *(w for each in settings for w in ("--set", f"shards.tokenizer.{each}"))
    )
    split, _ = documents_of(root)
    tokens = split.slice(0, split.num_tokens)
    assert tokens.max() > 65535
    for kind in ("llmc", "megatron", "datatrove", "litdata", "numpy", "datasets", "mds"):
        run(root, kind, tmp_path / kind)
    header = np.fromfile(tmp_path / "llmc/train_000000.bin", "<i4", 256)
    assert header[:3].tolist() == [20240801, 7, len(tokens)]
    body = np.fromfile(tmp_path / "llmc/train_000000.bin", "<u4", offset=1024)
    assert body.tolist() == [split.end_of_text, *tokens[:-1].tolist()]
    assert np.array_equal(np.fromfile(tmp_path / "megatron/train.bin", "<i4"), tokens)
    assert (tmp_path / "megatron/train.idx").read_bytes()[17] == 4
    assert np.array_equal(np.load(tmp_path / "numpy/train.npy"), tokens)
    assert np.array_equal(np.fromfile(tmp_path / "datatrove/train/00000_tokens.ds", "<u4"), tokens)
    for found in (tmp_path / "datasets").glob("train*"):
        texts = pq.read_table(found)["text"].to_pylist()
        assert not any("<|begin_of_text|>" in text for text in texts)


def test_llmc_s_last_shard_is_as_long_as_the_others(built: str, tmp_path: Path) -> None:
    """Its loader stops at a shard shorter than a batch of all ranks."""
    split = open_split(built, "b2", "train")
    target = open_store(str(tmp_path))
    tokenizer = load_tokenizer(open_store(built))
    paths = list(export.to_llmc(split, tokenizer, target, split.num_tokens // 3 - 5))
    sizes = [(tmp_path / path).stat().st_size for path in paths]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 2


def test_a_trained_vocabulary_comes_with_nanogpt_s_meta(tmp_path: Path) -> None:
    root = str(tmp_path / "corpus")
    commit_batch(root, "b2", documents(60))
    settings = ("source=train", "vocab_size=300")
    make_shards(
        root, "b2", *(w for each in settings for w in ("--set", f"shards.tokenizer.{each}"))
    )
    run(root, "nanogpt", tmp_path / "out")
    meta = pickle.loads((tmp_path / "out/meta.pkl").read_bytes())
    tokenizer = load_tokenizer(open_store(root))
    assert meta["vocab_size"] == tokenizer.vocab_size == 300
    ids = tokenizer.encode("the corpus of the web")
    assert "".join(meta["itos"][index] for index in ids) == "the corpus of the web"
    assert meta["stoi"]["a"] == tokenizer.encode("a")[0]


@pytest.mark.parametrize("kind", sorted(export.FORMATS))
def test_an_empty_split_is_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "corpus")
    commit_batch(root, "b2", documents(5))
    make_shards(root, "b2", "--set", "shards.writer.val_frac=0")
    command = ["--corpus", root, "--snapshot", "b2", "--to", kind, "--out", str(tmp_path / "out")]
    assert export.main(command) == 2
    assert "its val split has no tokens; export --split train alone" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))
    assert export.main([*command, "--split", "train"]) == 0
