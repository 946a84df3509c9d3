from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.storage.store import open_store
from corpus.tables.parquet import read_table
from shards import export
from shards.reader import open_split
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import TOKENIZER_PATH, load_tokenizer


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
