"""The harness of overlap: recall of every form, precision, and what settings do to them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.dedup.made import MadeCorpus, Page
from webtext import overlap_test

WORDS = [f"{first}{second}{third}" for first in "bdkl" for second in "aeiou" for third in "mnrst"]


def prose(generator: random.Random, size: int) -> str:
    return " ".join("".join(generator.choices(WORDS, k=2)) for _ in range(size))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> MadeCorpus:
    made = MadeCorpus(tmp_path_factory.mktemp("corpus"))
    generator = random.Random(1)
    entries = [prose(generator, size) for size in (20, 30, 60, 130, 300)]
    pages = [prose(generator, 300) for _ in range(30)]
    pages.append(f"{pages[0][:900]} {entries[1]} {pages[1][:900]}")
    made.add("b", [Page(page) for page in pages])
    lines = "".join(json.dumps({"text": entry}) + "\n" for entry in entries)
    (made.root.parent / "stories.jsonl").write_text(lines)
    tokenized = [f"we do n't {prose(generator, 20)} and it 's {prose(generator, 9)}" for _ in "abc"]
    (made.root.parent / "old.txt").write_text("\n".join(tokenized))
    (made.root.parent / "testsets.toml").write_text('[old]\nsplit = "lines"\n')
    return made


def run(
    corpus: MadeCorpus, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[str, dict[str, Any]]:
    sets = json.dumps([str(corpus.root.parent / name) for name in ("stories.jsonl", "old.txt")])
    code = overlap_test.main(
        [
            *("--corpus", str(corpus.root), "--batch", "b", "--workers", "1", "--json"),
            *("--entries", "5", "--set", f"dedup.testsets={sets}", *arguments),
        ]
    )
    assert code == 0
    shown, _, last = capsys.readouterr().out.rstrip().rpartition("\n")
    return shown, json.loads(last)


def test_every_form_is_found_and_nothing_else(
    corpus: MadeCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, found = run(corpus, capsys)
    for name, forms in found["recall"].items():
        assert {"verbatim", "wrapped", "divided", "capitals", "html", "mirrored"} < set(forms)
        assert ("natural" in forms) == (name == "old")
        for form, counts in forms.items():
            assert counts["found"] == counts["planted"] > 0, (name, form)
    # One page of the batch quotes an entry: the harness shows it, and no other.
    assert len(found["touched"]) == 1
    assert found["touched"][0] in shown
    assert found["pages"] == 31


def test_the_harness_shows_what_settings_miss(
    corpus: MadeCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = run(corpus, capsys, "--set", "dedup.overlap.near_share=1")
    forms = found["recall"]["stories"]
    assert forms["every 8th"]["found"] == 0 < forms["verbatim"]["found"]
    assert list(corpus.root.glob("verdicts*")) == [], "the corpus itself is not touched"


def test_without_test_sets_the_command_says_what_to_set(
    corpus: MadeCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overlap_test.main(["--corpus", str(corpus.root), "--batch", "b"]) == 2
    assert "dedup.testsets" in capsys.readouterr().err
