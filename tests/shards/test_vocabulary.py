from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from corpus.errors import InputError
from shards.tokenizer import vocabulary
from shards.tokenizer.vocabulary import GPT2_SHA256


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's vocabulary in every format, rebuilt from the merges."""
    folder = tmp_path_factory.mktemp("gpt2")
    gpt2 = vocabulary.gpt2()
    ids = {vocabulary.spell(token): index for token, index in gpt2.ids.items()} | {
        "<|endoftext|>": 50256
    }
    (folder / "encoder.json").write_text(json.dumps(ids))
    lines = [f"{vocabulary.spell(left)} {vocabulary.spell(right)}" for left, right in gpt2.merges]
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", "utf-8")
    order = sorted(gpt2.ids, key=lambda token: gpt2.ids[token])
    rows = [f"{base64.b64encode(token).decode()} {index}\n" for index, token in enumerate(order)]
    (folder / "r50k_base.tiktoken").write_text("".join(rows))
    (folder / "tokenizer.json").write_text(gpt2.to_json(), "utf-8")
    return folder


def test_published_files_come_out_byte_for_byte(files: Path) -> None:
    for name, digest in GPT2_SHA256.items():
        assert hashlib.sha256((files / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    "name", ["vocab.bpe", "encoder.json", "r50k_base.tiktoken", "tokenizer.json", ""]
)
def test_every_format_is_the_same_vocabulary(files: Path, name: str) -> None:
    found = vocabulary.load(str(files / name))
    assert found.fingerprint == vocabulary.gpt2().fingerprint
    assert (found.size, found.end_of_text) == (50257, 50256)


def test_hugging_face_reads_what_we_write(files: Path) -> None:
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(files / "tokenizer.json"))
    assert theirs.get_vocab_size() == 50257
    assert theirs.encode("Hello world<|endoftext|>").ids == [15496, 995, 50256]
    assert theirs.decode([15496, 995]) == "Hello world"
    assert (
        vocabulary.from_json(json.loads(theirs.to_str()), "theirs").fingerprint
        == vocabulary.gpt2().fingerprint
    )


def test_one_byte_more_is_refused(files: Path, tmp_path: Path) -> None:
    vocabulary.check_sha256(str(files / "vocab.bpe"), GPT2_SHA256["vocab.bpe"])
    changed = tmp_path / "vocab.bpe"
    changed.write_bytes((files / "vocab.bpe").read_bytes() + b"\n")
    with pytest.raises(InputError, match="expected 1ce16647"):
        vocabulary.check_sha256(str(changed), GPT2_SHA256["vocab.bpe"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[]", "not readable"),
        ("a.json", "{", "not readable"),
        ("a.tiktoken", "IQ== 1\n", "without gaps"),
        ("a.tiktoken", "IQ== 0\n", "no token for byte"),
        ("vocab.bpe", "a\n", "not readable"),
        ("vocab.bpe", "\u2603 b\n", "not readable"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        vocabulary.load(str(tmp_path / name))


def test_other_split_rules_and_missing_files_are_refused(tmp_path: Path) -> None:
    document = json.loads(vocabulary.gpt2().to_json())
    for change in ({"pre_tokenizer": {"type": "Whitespace"}}, {"normalizer": {"type": "NFC"}}):
        with pytest.raises(InputError, match="plain ByteLevel rule"):
            vocabulary.from_json({**document, **change}, "a.json")
    with pytest.raises(InputError, match="No such file"):
        vocabulary.load(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="neither tokenizer"):
        vocabulary.load(str(tmp_path))
