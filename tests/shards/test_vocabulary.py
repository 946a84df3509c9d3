from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError
from shards.tokenizer import vocabulary
from shards.tokenizer.byte_spelling import spell
from shards.tokenizer.encode import Tokenizer
from shards.tokenizer.split_rules import BYTE_LEVEL, SPLIT_RULES
from shards.tokenizer.vocabulary import GPT2_SHA256, Vocabulary
from shards.tokenizer.vocabulary_files import check_sha256, load
from tests.support.tokenizer_shapes import (
    BYTES_ONLY,
    SHAPES,
    byte_level,
    sequence,
    shape,
    split,
    template,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's vocabulary in every format, rebuilt from the merges."""
    folder = tmp_path_factory.mktemp("gpt2")
    gpt2 = vocabulary.gpt2()
    ids = {spell(token): index for token, index in gpt2.ids.items()} | {"<|endoftext|>": 50256}
    (folder / "encoder.json").write_text(json.dumps(ids))
    lines = [f"{spell(left)} {spell(right)}" for left, right in gpt2.merges]
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", "utf-8")
    order = sorted(gpt2.ids, key=lambda token: gpt2.ids[token])
    rows = [f"{base64.b64encode(token).decode()} {index}\n" for index, token in enumerate(order)]
    (folder / "r50k_base.tiktoken").write_text("".join(rows))
    (folder / "tokenizer.json").write_text(gpt2.to_json(), "utf-8")
    for name, copy in (("vocab.bpe", "merges.txt"), ("encoder.json", "vocab.json")):
        (folder / copy).write_bytes((folder / name).read_bytes())
    return folder


def test_published_files_come_out_byte_for_byte(files: Path) -> None:
    for name, digest in GPT2_SHA256.items():
        assert hashlib.sha256((files / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    "name",
    [
        "vocab.bpe",
        "encoder.json",
        "merges.txt",
        "vocab.json",
        "r50k_base.tiktoken",
        "tokenizer.json",
        "",
    ],
)
def test_every_format_is_the_same_vocabulary(files: Path, name: str) -> None:
    found = load(str(files / name))
    assert found.fingerprint == vocabulary.gpt2().fingerprint
    assert (found.size, found.end_of_text) == (50257, 50256)


def test_hugging_face_reads_what_we_write(files: Path) -> None:
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(files / "tokenizer.json"))
    assert theirs.get_vocab_size() == 50257
    assert theirs.encode("Hello world<|endoftext|>").ids == [15496, 995, 50256]
    assert theirs.decode([15496, 995]) == "Hello world"
    assert (
        Vocabulary(json.loads(theirs.to_str()), "theirs").fingerprint
        == vocabulary.gpt2().fingerprint
    )


def test_one_byte_more_is_refused(files: Path, tmp_path: Path) -> None:
    check_sha256(str(files / "vocab.bpe"), GPT2_SHA256["vocab.bpe"])
    changed = tmp_path / "vocab.bpe"
    changed.write_bytes((files / "vocab.bpe").read_bytes() + b"\n")
    with pytest.raises(InputError, match="expected 1ce16647"):
        check_sha256(str(changed), GPT2_SHA256["vocab.bpe"])


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
        load(str(tmp_path / name))


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="neither tokenizer"):
        load(str(tmp_path))


def documents(change: str) -> dict[str, Any]:
    """GPT-2's shape with one more feature."""
    document = byte_level(BYTE_LEVEL)
    model = document["model"]
    lowercase = {"type": "Lowercase"}
    removed = {**split(r"\p{N}"), "behavior": "Removed"}
    changes: dict[str, Any] = {
        "end_of_word_suffix": lambda: model.update(end_of_word_suffix="</w>"),
        "continuing_subword_prefix": lambda: model.update(continuing_subword_prefix="##"),
        "dropout": lambda: model.update(dropout=0.1),
        "truncation": lambda: document.update(truncation={"max_length": 8}),
        "padding": lambda: document.update(padding={"strategy": "BatchLongest"}),
        "Lowercase": lambda: document.update(normalizer=lowercase),
        "BertNormalizer": lambda: document.update(
            normalizer={"type": "Sequence", "normalizers": [{"type": "BertNormalizer"}]}
        ),
        "Whitespace": lambda: document.update(pre_tokenizer={"type": "Whitespace"}),
        "Removed": lambda: document.update(pre_tokenizer=sequence(removed, BYTES_ONLY)),
        "WordPiece": lambda: document.update(model={"type": "WordPiece", "vocab": {}}),
        "'new_feature'": lambda: model.update(new_feature=True),
        "'steps'": lambda: document["pre_tokenizer"].update(steps=3),
        "'later'": lambda: document.update(later={}),
        "'rank'": lambda: document["added_tokens"][0].update(rank=1),
        "has id 256 in the vocabulary and": lambda: document["added_tokens"].append(
            {**document["added_tokens"][0], "content": "\u0100\u0100", "id": 9_999}
        ),
        "template without one": lambda: (
            document.update(template(byte_level(BYTE_LEVEL, "<|endoftext|>", "<s>"), "<s>"))
            or document["post_processor"]["single"].append({"Sequence": {"id": "B", "type_id": 0}})
        ),
        "is not an added token": lambda: document.update(
            post_processor={"type": "BertProcessing", "sep": ["x", 5], "cls": ["y", 6]}
        ),
        "no token for byte 0x41": lambda: model.update(
            vocab={token: index for token, index in model["vocab"].items() if token != "A"},
            merges=[pair for pair in model["merges"] if "A" not in pair],
        ),
        "names a token that the vocabulary lacks": lambda: model["merges"].append(["A", "nope"]),
        "two tokens have one id": lambda: model["vocab"].update(other=3),
        "has id -1": lambda: model["vocab"].update(other=-1),
        "has id True": lambda: model["vocab"].update(other=True),
    }
    changes[change]()
    return document


FEATURES = [
    "end_of_word_suffix", "continuing_subword_prefix", "dropout", "truncation", "padding",
    "Lowercase", "BertNormalizer", "Whitespace", "Removed", "WordPiece", "'new_feature'",
    "'steps'", "'later'", "'rank'", "has id 256 in the vocabulary and", "template without one",
    "is not an added token", "no token for byte 0x41", "names a token that the vocabulary lacks",
    "two tokens have one id", "has id -1", "has id True",
]  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_not_applied_is_refused_by_its_name(feature: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(documents(feature)))
    with pytest.raises(InputError, match=re.escape(feature)) as found:
        load(str(path))
    assert "not readable" not in str(found.value)


def test_an_end_of_text_of_another_name_is_named_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(shape("llama3")[0]))
    with pytest.raises(InputError, match=r"end_of_text \(its special tokens: <\|begin_of_text\|>"):
        load(str(path))
    assert load(str(path), end_of_text="<|end_of_text|>").end_of_text == 65793
    with pytest.raises(InputError, match="names its own rule"):
        load(str(path), end_of_text="<|end_of_text|>", split_rule="gpt2")


def test_ids_may_have_gaps_and_keep_them(tmp_path: Path) -> None:
    """A padded vocabulary: Hugging Face would number the tokens after the gap anew."""
    import tokenizers

    document = byte_level(BYTE_LEVEL, "<|endoftext|>", "<pad>")
    for offset, token in enumerate(document["added_tokens"]):
        token["id"] = 70_000 + 5 * offset
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    found = load(str(path))
    assert (found.size, found.end_of_text) == (70_006, 70_000)
    theirs = tokenizers.Tokenizer.from_str(found.to_json())
    assert theirs.token_to_id("<pad>") == 70_005
    assert Tokenizer(found).decode([70_000, 70_005]) == "<|endoftext|><pad>"
    with pytest.raises(InputError, match=r"token id 69999: the vocabulary has 0\.\.70005"):
        Tokenizer(found).decode([69_999])


def test_formats_without_a_split_rule_are_refused_unless_it_is_known_or_named(
    files: Path, tmp_path: Path
) -> None:
    """cl100k_base read under GPT-2's rule gave other ids for every document."""
    rows = (files / "r50k_base.tiktoken").read_bytes().splitlines(keepends=True)
    (tmp_path / "other.tiktoken").write_bytes(b"".join(rows[:-1]))
    (tmp_path / "merges.txt").write_bytes(
        b"".join((files / "merges.txt").read_bytes().splitlines(keepends=True)[:-1])
    )
    for name in ("other.tiktoken", "merges.txt"):
        with pytest.raises(InputError, match="split_rule to one of gpt2, cl100k"):
            load(str(tmp_path / name))
    with pytest.raises(InputError, match="NAME=ID"):
        load(str(tmp_path / "other.tiktoken"), split_rule="gpt2")
    named = load(
        str(tmp_path / "other.tiktoken"), split_rule="gpt2", end_of_text="<|endoftext|>=60000"
    )
    assert (named.size, named.end_of_text) == (60_001, 60_000)
    merged = load(str(tmp_path / "merges.txt"), split_rule="cl100k")
    assert merged.document["pre_tokenizer"] == SPLIT_RULES["cl100k"]
    with pytest.raises(InputError, match="whose split rule is gpt2, not o200k"):
        load(str(files / "r50k_base.tiktoken"), split_rule="o200k")


def test_tokens_that_no_merge_makes_are_not_byte_level(files: Path, tmp_path: Path) -> None:
    """CLIP's vocab.json and merges.txt end words with </w>."""
    ids = json.loads((files / "vocab.json").read_text())
    ids["hello</w>"] = len(ids)
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_bytes((files / "merges.txt").read_bytes())
    with pytest.raises(InputError, match="no merge makes the token 'hello</w>'"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", SHAPES)
def test_hugging_face_reads_all_that_the_source_said(name: str) -> None:
    """The pinned file is the source: its special tokens, normaliser, template and decoder."""
    import tokenizers

    document, end_of_text = shape(name)
    pinned = tokenizers.Tokenizer.from_str(Vocabulary(document, name, end_of_text).to_json())
    source = tokenizers.Tokenizer.from_str(json.dumps(document))
    text = f"Hello  world {end_of_text} e\u0301 12345 " + "".join(
        token["content"] for token in document["added_tokens"]
    )
    assert pinned.encode(text).ids == source.encode(text).ids
    assert json.loads(pinned.to_str()) == json.loads(source.to_str())
