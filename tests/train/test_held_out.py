"""A file of held-out texts in place of the validation split."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zstandard

from corpus.errors import InputError
from corpus.storage.store import open_corpus
from shards.tokenizer.encode import load_tokenizer
from tests.train.fakes import config
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.held_out import held_out_blocks, read_texts
from train.job import RunRequest, open_job
from train.machine.distributed import join_world
from train.scores.texts import score_texts, table, text_sets


def write(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.mark.parametrize("block_size", [2, 5, 1000])
def test_every_token_is_predicted_once(corpus: Path, tmp_path: Path, block_size: int) -> None:
    tokenizer = load_tokenizer(open_corpus(str(corpus)))
    texts = ["A first text.", "Zwölf Boxkämpfer", ""]
    blocks, num_bytes = held_out_blocks(write(tmp_path / "h", *texts), tokenizer, block_size)
    end = tokenizer.end_of_text
    expected = [each for text in texts for each in (*tokenizer.encode(text), end)]
    found = list(blocks())
    assert all(2 <= len(block) <= block_size + 1 for block in found)
    assert np.concatenate([block[1:] for block in found]).tolist() == expected[1:]
    assert num_bytes == sum(len(text.encode()) for text in texts)


def test_a_run_keeps_its_texts(corpus: Path, tmp_path: Path) -> None:
    """The identity has their digest; runs without a file keep the identity they always had."""
    store = open_corpus(str(corpus))
    snapshot = store.files("snapshots")[0][0].removeprefix("snapshots/").removesuffix(".json")
    one, two = write(tmp_path / "one", "a text"), write(tmp_path / "two", "another")
    requests = [
        RunRequest(str(corpus), snapshot, "r", config(), held_out=f) for f in ("", one, two)
    ]
    jobs = [open_job(store, request) for request in requests]
    identities = [job.record["identity"] for job in jobs]
    assert "held_out" not in identities[0]
    assert identities[1]["held_out"] != identities[2]["held_out"]
    assert [job.val_bytes for job in jobs[1:]] == [6, 7]


@pytest.mark.parametrize(
    "content", ["", "{}\n", "[1]\n", '{"text": 1}\n', '{"text": ""}\n', '{"text": "\\ud800"}\n']
)
def test_files_without_texts_are_refused(corpus: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(content)
    tokenizer = load_tokenizer(open_corpus(str(corpus)))
    with pytest.raises(InputError, match=r"--held-out .*(write one|name a file)"):
        held_out_blocks(str(path), tokenizer, 8)
    with pytest.raises(InputError, match="name an existing file"):
        held_out_blocks(str(tmp_path / "none"), tokenizer, 8)


def test_texts_come_packed_and_as_parquet(tmp_path: Path) -> None:
    texts = ["One.", "Zwölf", ""]
    plain = write(tmp_path / "h.jsonl", *texts)
    data = Path(plain).read_bytes()
    (tmp_path / "h.jsonl.zst").write_bytes(zstandard.compress(data))
    (tmp_path / "h.jsonl.gz").write_bytes(gzip.compress(data))
    pq.write_table(pa.table({"n": [1, 2, 3], "text": texts}), tmp_path / "h.parquet")
    for name in ("h.jsonl", "h.jsonl.zst", "h.jsonl.gz", "h.parquet"):
        assert read_texts(str(tmp_path / name)) == texts


def test_other_files_are_no_texts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "none.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "numbers.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "bad.jsonl.zst").write_bytes(b"no zstd")
    for name in ("none.parquet", "no.parquet", "deep.jsonl", "bad.jsonl.zst", "missing.jsonl"):
        with pytest.raises(InputError, match="--texts"):
            read_texts(str(tmp_path / name), option="--texts")


def test_a_sets_bits_per_byte_are_those_of_the_naive_sum(corpus: Path, tmp_path: Path) -> None:
    """Over all tokens in windows end to end, in a model with random weights."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(open_corpus(str(corpus)))
    end = tokenizer.end_of_text
    model = GPT2(Shape(1, 2, 16, 8, end + 1)).eval()
    loaded = LoadedModel(model, tokenizer, end, {}, {}, 1)
    texts = ["A first text.", "And Zwölf of them."]
    (given,) = text_sets([f"mine={write(tmp_path / 'h.jsonl', *texts)}"])
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    found = score_texts(loaded, given, world)

    tokens = [each for text in texts for each in (*tokenizer.encode(text), end)]
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 8):
            window = torch.tensor(tokens[start : start + 9])
            logits = model.hidden(window[None, :-1]) @ model.wte.weight.T
            nats += torch.nn.functional.cross_entropy(logits[0], window[1:], reduction="sum").item()
    num_bytes = sum(len(text.encode()) for text in texts)
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / num_bytes, rel=1e-5)
    assert (found["texts"], found["bytes"]) == (2, num_bytes)
    shown = table({"sets": {"texts:mine": found}})
    assert shown.splitlines()[-1].startswith("| mean of 1 |")


def test_sets_of_one_name_are_refused() -> None:
    assert [each.name for each in text_sets(["a/news.jsonl.gz", "code=b.parquet"])] == [
        "news",
        "code",
    ]
    for given in (["a/x.jsonl", "b/x.parquet"], ["a b=x.jsonl"]):
        with pytest.raises(InputError, match="--texts"):
            text_sets(given)


def test_a_parquet_file_with_bytes_that_are_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.parquet"
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "<i4")), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"text": bad}), path)
    with pytest.raises(InputError, match="--held-out .*Invalid UTF8"):
        read_texts(str(path))
