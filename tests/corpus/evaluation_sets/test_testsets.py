"""Evaluation sets: every kind of file gives its entries, and the digest says when anything that counts changed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from corpus.errors import InputError
from corpus.evaluation_sets import files
from corpus.evaluation_sets.files import find_testsets, load_testsets, load_train_split

RECORDS = [
    {"question": "Who?", "choices": ["a", "b"], "id": "x1", "gold": 1},
    {"question": "Why?", "choices": []},
]
LINES = "\n".join(json.dumps(record) for record in RECORDS) + "\n"
ENTRIES = (("Who?", "a", "b"), ("Why?",))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("set.jsonl", LINES.encode()),
        ("set.ndjson", LINES.encode()),
        ("set.jsonl.gz", gzip.compress(LINES.encode())),
        ("set.jsonl.bz2", bz2.compress(LINES.encode())),
        ("set.jsonl.zst", zstandard.compress(LINES.encode())),
        ("set.json", json.dumps(RECORDS).encode()),
        ("set.json", json.dumps({"version": 1, "data": RECORDS}, indent=1).encode()),
        ("set.json", LINES.encode()),
    ],
    ids=["jsonl", "ndjson", "gz", "bz2", "zst", "array", "object", "lines"],
)
def test_records_of_every_kind(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (testset,) = load_testsets([str(tmp_path / name)])
    assert testset.name == "set"
    assert testset.entries == ENTRIES
    assert testset.texts == ["Who?\na\nb", "Why?"]


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", "two"], "label": [0, 1]}), tmp_path / "set.parquet")
    assert load_testsets([str(tmp_path)])[0].entries == (("one",), ("two",))


@pytest.mark.parametrize(
    ("split", "entries"),
    [
        ("file", [("a b\nc\n\nd\n",)]),
        ("lines", [("a b",), ("c",), ("d",)]),
        ("paragraphs", [("a b\nc",), ("d\n",)]),
    ],
)
def test_text_is_split_as_said(tmp_path: Path, split: str, entries: list[tuple[str, ...]]) -> None:
    (tmp_path / "set.txt").write_text("a b\nc\n\nd\n")
    (tmp_path / "testsets.toml").write_text(f'[set]\nsplit = "{split}"\n')
    assert list(load_testsets([str(tmp_path)])[0].entries) == entries


def test_folders_give_a_set_a_file_named_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "deep" / "b.tokens").write_text("y")
    (tmp_path / "notes.pdf").write_text("passed over")
    assert [file.name for file in find_testsets([str(tmp_path)])] == ["a", "deep/b"]


def test_chosen_fields_count_and_show_in_the_digest(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text(LINES)
    before = load_testsets([str(tmp_path)])[0]
    (tmp_path / "testsets.toml").write_text('[set]\nfields = ["choices"]\n')
    after = load_testsets([str(tmp_path)])[0]
    assert after.entries == (("a", "b"),)
    assert before.digest != after.digest
    (tmp_path / "testsets.toml").unlink()
    (tmp_path / "set.jsonl").write_text(LINES + '{"question": "What?"}\n')
    assert load_testsets([str(tmp_path)])[0].digest not in (before.digest, after.digest)


def test_digest_shows_other_usual_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set.jsonl").write_text(LINES)
    (file,) = find_testsets([str(tmp_path)])
    before = file.digest
    monkeypatch.setattr("corpus.evaluation_sets.files.FIELDS", ("question",))
    assert file.digest != before


def test_digest_does_not_depend_on_where_the_file_lies(tmp_path: Path) -> None:
    digests = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "set.jsonl").write_text(LINES)
        digests.append(find_testsets([str(tmp_path / folder)])[0].digest)
    assert digests[0] == digests[1]


def test_training_split_is_no_set_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_text("a test")
    (tmp_path / "ptb.train.txt").write_text("a training text")
    (tmp_path / "testsets.toml").write_text('["ptb.test"]\ntrain = "ptb.train.txt"\n')
    (file,) = find_testsets([str(tmp_path)])
    train = load_train_split(file)
    assert train is not None
    assert train.entries == (("a training text",),)


def test_training_split_in_another_folder_is_no_set_of_its_own(tmp_path: Path) -> None:
    for folder in ("ptb", "train"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ptb.txt").write_text(f"a text of {folder}")
    settings = '[ptb]\ntrain = "../train/ptb.txt"\n'
    (tmp_path / "ptb" / "testsets.toml").write_text(settings)
    (file,) = find_testsets([str(tmp_path)])
    assert file.name == "ptb/ptb"
    train = load_train_split(file)
    assert train is not None
    assert train.entries == (("a text of train",),)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file of a known kind"),
        ({"set.jsonl": "{broken\n"}, "line 1"),
        ({"set.jsonl": '{"unheard_of": "x"}\n'}, "unheard_of"),
        ({"set.jsonl": "\n"}, "no entry"),
        ({"set.jsonl": "3\n"}, "an entry is int"),
        ({"set.json": "[1,"}, "cannot be read"),
        ({"set.json": '{\n"a": '}, "line 1"),
        ({"set.jsonl.gz": "not gzip"}, "cannot be read"),
        ({"set.parquet": "not parquet"}, "cannot be read"),
        ({"set.txt": "x", "testsets.toml": "[other]\n"}, "names no file"),
        ({"set.txt": "x", "testsets.toml": "[set\n"}, "not TOML"),
        ({"set.txt": "x", "testsets.toml": '[set]\nfield = ["a"]\n'}, "field"),
        ({"set.txt": "x", "testsets.toml": '[set]\nsplit = "pages"\n'}, "pages"),
    ],
)
def test_bad_sets_are_refused_by_name(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_testsets([str(tmp_path)])


def test_bad_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        find_testsets([str(tmp_path / "nothing")])
    (tmp_path / "set.docx").write_text("x")
    with pytest.raises(InputError, match="unknown kind"):
        find_testsets([str(tmp_path / "set.docx")])
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "set.txt").write_text("x")
    with pytest.raises(InputError, match="both named 'set'"):
        find_testsets([str(tmp_path / "one"), str(tmp_path / "two")])


def test_real_sets(shared: Path) -> None:
    (lambada,) = load_testsets([str(shared / "evalsets" / "lambada_openai")])
    assert len(lambada.entries) == 5153


def test_the_limits_as_they_are() -> None:
    assert files.MAX_UNPACKED_BYTES == 1 << 30
    assert files.MAX_ENTRY_CHARS == 128 << 20


@pytest.mark.parametrize(
    ("packer", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstandard.compress)],
)
def test_a_damaged_packed_file_is_refused_by_name(
    tmp_path: Path, packer: str, pack: Callable[[bytes], bytes]
) -> None:
    """Wherever the damage is: zlib has an error of its own for bytes in the middle."""
    whole = pack(LINES.encode())
    path = tmp_path / f"set.jsonl{packer}"
    middle = slice(len(whole) // 2, len(whole) // 2 + 4)
    damaged = bytearray(whole)
    damaged[middle] = b"\xff" * 4
    start = bytearray(whole)
    start[10:14] = b"\xff" * 4
    for data in (whole[:-5], bytes(damaged), bytes(start)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"set\.jsonl.*cannot be read"):
            load_testsets([str(path)])


@pytest.mark.parametrize(("num_bytes", "fits"), [(999, True), (1000, True), (1001, False)])
@pytest.mark.parametrize("packer", ["", ".gz", ".bz2", ".zst"])
def test_the_border_of_the_unpacked_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packer: str, num_bytes: int, fits: bool
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}
    path = tmp_path / f"set.txt{packer}"
    path.write_bytes(pack[packer](b"x" * num_bytes))
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1000)
    if fits:
        assert load_testsets([str(path)])[0].texts == ["x" * num_bytes]
    else:
        with pytest.raises(InputError, match=r"set\.txt.*more than 1,000 bytes.*split or remove"):
            load_testsets([str(path)])


@pytest.mark.parametrize(("chars", "fits"), [(9, True), (10, True), (11, False)])
def test_the_border_of_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chars: int, fits: bool
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"text": "x" * 5, "answer": "y" * (chars - 5)}))
    monkeypatch.setattr(files, "MAX_ENTRY_CHARS", 10)
    if fits:
        assert len(load_testsets([str(path)])[0].entries) == 1
    else:
        with pytest.raises(
            InputError, match=r"set\.jsonl: an entry has 11 characters, the limit is 10"
        ):
            load_testsets([str(path)])


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """1 GB of spaces in 5 MB: one line, and no more than the limit in memory."""
    path = tmp_path / "set.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(1030):
            stream.write(b" " * (1 << 20))
    with pytest.raises(InputError, match="more than 1,073,741,824 bytes"):
        load_testsets([str(path)])


@pytest.mark.parametrize(
    "line",
    [
        '{"text": ' + "[" * 100_000,
        '{"text": ' + "[" * 990 + '"x"' + "]" * 990 + "}",
        "nul",
        '{"text": 1e999}',
    ],
)
def test_strange_json_is_one_line_or_an_entry(tmp_path: Path, line: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(line)
    with contextlib.suppress(InputError):
        load_testsets([str(path)])


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "a \\ud800 b"}')
    assert load_testsets([str(path)])[0].texts == ["a ? b"]


def test_a_parquet_bomb_is_one_line(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * 500_000, pa.int32()), pa.array(["x" * 3000])
    )
    pq.write_table(pa.table({"text": text}), tmp_path / "set.parquet", store_schema=False)
    with pytest.raises(InputError, match=r"set\.parquet: unpacks to more than"):
        load_testsets([str(tmp_path / "set.parquet")])


PASSAGE = "one two three four five six seven eight nine"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("humaneval", {"prompt": "def f():", "canonical_solution": PASSAGE}),
        ("mbpp", {"text": "write it", "code": PASSAGE}),
        ("xsum", {"document": "a b", "summary": PASSAGE}),
        ("truthfulqa", {"question": "a b", "best_answer": "c", "correct_answers": [PASSAGE]}),
        ("siqa", {"context": "a b", "answerB": PASSAGE}),
        ("copa", {"premise": "a b", "choice2": PASSAGE}),
        ("multirc", {"paragraph": PASSAGE, "question": "a b"}),
        ("belebele", {"flores_passage": PASSAGE, "question": "a b"}),
        ("belebele_test", {"question": "a b", "mc_answer1": PASSAGE}),
        ("cmmlu", {"Question": PASSAGE, "A": "b"}),
        ("glue", {"sentence1": PASSAGE, "sentence2": "b"}),
        ("wmt", {"translation": {"en": PASSAGE, "fr": "b"}}),
        ("swag", {"sent1": "a", "ending3": PASSAGE}),
        ("own", {"question": "a", "alternatives": [PASSAGE]}),
        ("own", {"Question": "a", "Best Answer": PASSAGE}),
        ("own", {"question": "a", "correct-Answer": PASSAGE}),
        ("own", {"doc_id": 1, "doc": {"question": PASSAGE}}),
        ("own", {"turns": [PASSAGE, "a"]}),
        ("own", {"conversations": [{"from": "a", "value": PASSAGE}]}),
        ("own", {"input": "", "output": PASSAGE}),
        ("own", {"question": "a", "options": json.dumps([PASSAGE, "b"])}),
        ("own", {"question": "a", "options": repr([PASSAGE, "b"])}),
        ("own", {"question": "a", "choices": repr({"text": [PASSAGE], "label": ["A"]})}),
    ],
)
def test_fields_of_public_sets_are_read(tmp_path: Path, name: str, record: dict[str, Any]) -> None:
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(record))
    (found,) = load_testsets([str(tmp_path)])
    assert PASSAGE in found.entries[0]
    assert found.left_out == ()


def test_nested_records_are_entries_of_their_own(tmp_path: Path) -> None:
    """SQuAD's own file: articles of paragraphs of questions."""
    asked = {"qas": [{"question": "a b", "answers": [{"text": "c"}]}, {"question": "d e"}]}
    article = {"title": "t", "paragraphs": [{"context": PASSAGE, **asked}]}
    (tmp_path / "squad.json").write_text(json.dumps({"version": "1", "data": [article]}))
    (found,) = load_testsets([str(tmp_path)])
    assert found.entries == ((PASSAGE,), ("a b", "c"), ("d e",))


def test_chosen_fields_count_at_the_top_only(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"text": "a b", "source": {"text": PASSAGE}}))
    (tmp_path / "testsets.toml").write_text('[own]\nfields = ["text"]\n')
    (found,) = load_testsets([str(tmp_path)])
    assert (found.entries, found.left_out) == ((("a b",),), ("source",))


def test_a_long_field_without_spaces_is_named(tmp_path: Path) -> None:
    record = {"question": "a b", "wenti": "请问下列哪一位诗人写了静夜思这首著名的唐代五言绝句"}
    (tmp_path / "own.jsonl").write_text(json.dumps(record, ensure_ascii=False))
    assert load_testsets([str(tmp_path)])[0].left_out == ("wenti",)


def test_a_long_field_that_is_not_read_is_named(tmp_path: Path) -> None:
    record = {"question": "a b", "grundwahrheit": PASSAGE, "id": "x", "part_of": "b"}
    (tmp_path / "own.jsonl").write_text(json.dumps(record))
    (found,) = load_testsets([str(tmp_path)])
    assert (found.fields, found.left_out) == (("question",), ("grundwahrheit",))


@pytest.mark.parametrize(
    ("file", "text", "entries"),
    [
        ("anatomy_test.csv", f'"{PASSAGE}",a,b,c,d,B\nsecond,e,f,g,h,A\n', ((PASSAGE, "a", "b", "c", "d", "B"), ("second", "e", "f", "g", "h", "A"))),
        ("own.csv", f"id,question,answer\n1,{PASSAGE},yes\n", ((PASSAGE, "yes"),)),
        ("own.tsv", f"id\tquestion\tanswer\n1\t{PASSAGE}\tyes\n", ((PASSAGE, "yes"),)),
        ("own.csv", f"id;question;answer\n1;{PASSAGE};yes\n", ((PASSAGE, "yes"),)),
        ("own.csv", f"id\tquestion\tanswer\n1\t{PASSAGE}\tyes\n", ((PASSAGE, "yes"),)),
        ("own.csv", f"\ufeffquestion,answer\n{PASSAGE},yes\n", ((PASSAGE, "yes"),)),
        ("own.tsv", 'question\tanswer\n"a b\tno\nc "d"\tyes\n', (('"a b', "no"), ('c "d"', "yes"))),
        ("own.csv", f"1,{PASSAGE},yes\n2,b,no\n", ((PASSAGE, "yes"), ("b", "no"))),
        ("own.csv", f'question,answer\n"{PASSAGE},\nso",yes\n', ((f"{PASSAGE},\nso", "yes"),)),
        ("own.csv", "", None),
    ],
)  # fmt: skip
def test_tables_of_text(
    tmp_path: Path, file: str, text: str, entries: tuple[tuple[str, ...], ...] | None
) -> None:
    (tmp_path / file).write_text(text)
    if entries is None:
        with pytest.raises(InputError, match="no entry"):
            load_testsets([str(tmp_path)])
    else:
        assert load_testsets([str(tmp_path)])[0].entries == entries


@pytest.mark.parametrize("name", ["text8", "enwik8", "text8.txt"])
def test_of_texts_with_a_training_part_the_test_part_counts(tmp_path: Path, name: str) -> None:
    text = "é" + "train " * 1_000 + "x" * (files.TEST_PART_BYTES - 6) + " test "
    (tmp_path / name).write_text(text)
    (found,) = load_testsets([str(tmp_path / name)])
    assert found.entries == (("x" * (files.TEST_PART_BYTES - 6) + " test ",),)


def test_a_hub_name_says_which_fields_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0000.jsonl"
    path.write_text(json.dumps({"question": "a b", "own": PASSAGE}))
    asked: list[str] = []

    def fetch(name: str) -> list[files.hub.HubFile]:
        asked.append(name)
        return [files.hub.HubFile("set/default/test", path)]

    monkeypatch.setattr(files.hub, "fetch", fetch)
    (found,) = load_testsets(["hf:owner/set?fields=own,question"])
    assert (asked, found.entries) == (["hf:owner/set"], ((PASSAGE, "a b"),))
