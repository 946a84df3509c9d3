"""Official files are known by their digests; another file is named with digest and source."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from corpus.errors import InputError
from corpus.evaluation_sets import llm_foundry
from corpus.evaluation_sets import official as officialsets
from corpus.evaluation_sets.files import load_testsets
from corpus.evaluation_sets.official import SETS, find_set, open_set

REAL = {
    "lambada": "lambada_openai/lambada_test.jsonl.gz",
    "wsc273": "wsc273/winograd_wsc.jsonl.gz",
    "wikitext2": "wikitext2/wiki.test.tokens.txt.gz",
    "wikitext103": "wikitext103/wiki.test.tokens.txt.gz",
    "ptb": "ptb/ptb.test.txt.gz",
    "1bw": "one_billion_word/1b_benchmark.test.tokens.gz",
}


def test_real_files_are_found_and_are_the_official_ones(shared: Path) -> None:
    folder = shared / "evalsets"
    for name, file in REAL.items():
        path = find_set(name, folder)
        assert path == folder / file
        assert open_set(name, path).is_official is (None if SETS[name].digest is None else True)
    assert find_set("coqa", folder) is None


def test_a_folder_of_a_sets_name_is_not_the_set(tmp_path: Path) -> None:
    for name in ("enwik8", "text8"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(b"a b")
        assert find_set(name, tmp_path) == tmp_path / name / name


def test_an_altered_file_is_refused_with_set_digest_and_source(tmp_path: Path) -> None:
    path = tmp_path / "lambada_test.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a b"}\n'))
    official = SETS["lambada"]
    with pytest.raises(InputError) as error:
        open_set("lambada", path)
    for part in (
        "lambada",
        str(path),
        official.source,
        str(official.digest).partition(":")[2],
        "--allow-altered",
    ):
        assert part in str(error.value)
    file = open_set("lambada", path, allow_altered=True)
    assert (file.data, file.is_official) == (b'{"text": "a b"}\n', False)
    assert file.digest == hashlib.sha256(file.data).hexdigest()


def test_a_missing_file_and_an_unknown_set_are_named(tmp_path: Path) -> None:
    for error in (officialsets.missing("coqa", tmp_path), _error("coqa", tmp_path / "none")):
        assert "test set coqa: expected coqa-dev-v1.0.json, sha256:dfa367a9" in str(error)
        assert "nlp.stanford.edu/data/coqa" in str(error)
    (tmp_path / "enwik8.gz").write_bytes(b"no gzip")
    assert "enwik8" in str(_error("enwik8", tmp_path / "enwik8.gz"))
    assert "'lambda': unknown; known: lambada" in str(_error("lambda", tmp_path))


def _error(name: str, path: Path) -> InputError:
    with pytest.raises(InputError) as error:
        open_set(name, path)
    return error.value


def test_every_set_says_what_it_is() -> None:
    for name, official in SETS.items():
        assert name == official.name
        assert all(
            (official.title, official.files, official.source, official.licence, official.format)
        )
        if official.digest is not None:
            algorithm, _, digits = official.digest.partition(":")
            assert (
                len(bytes.fromhex(digits))
                == hashlib.new(algorithm, usedforsecurity=False).digest_size
            )


RECORDS = {
    "coqa": '{\n "version": "1.0",\n "data": [\n  {"source": "x", "story": "A b c.", "questions": []},\n  {"story": "D e."}\n ]\n}',
    "lambada": '{"text": "A b c."}\n{"text": "D e."}\n',
    "hellaswag": '{"ctx_a": "a", "ctx": "A b c.", "endings": []}\n{"ctx": "D e."}\n',
    "wsc273": '{"context_options": ["A b", "c."], "gold": 1}\n{"context_options": ["D e."]}\n',
    "cnn_dm": '{"article": "A b", "highlights": "c."}\n{"article": "D e."}\n',
    "nq": '{"question": "A b", "answer": ["c."]}\n{"question": "D e."}\n',
    **dict.fromkeys(
        llm_foundry.FILES,
        '{"query": "A b", "choices": ["c."], "gold": 0}\n{"context": "D", "continuation": "e."}\n',
    ),
}


@pytest.mark.parametrize("official", SETS.values(), ids=list(SETS))
def test_the_overlap_filter_reads_every_scored_file(
    tmp_path: Path, official: officialsets.OfficialSet
) -> None:
    for file in official.files:
        folder = tmp_path / file
        folder.mkdir()
        (folder / file).write_text(RECORDS.get(official.name, "A b c.\nD e.\n"))
        (testset,) = load_testsets([str(folder)])
        assert " ".join(testset.texts).split() == ["A", "b", "c.", "D", "e."]
        assert len(testset.entries) == (2 if official.name in RECORDS else 1)
