"""A file of held-out texts in place of the validation split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import InputError
from corpus.storage.store import open_corpus
from shards.tokenizer.encode import load_tokenizer
from tests.train.fakes import config
from train.held_out import held_out_blocks
from train.job import RunRequest, open_job


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
