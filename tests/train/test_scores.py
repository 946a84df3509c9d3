"""Scoring goes on where it was, gives the same on any number of ranks, and leaves out what overlaps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.errors import InputError
from corpus.evaluation_sets.official import SETS, SetFile, open_set
from corpus.storage.store import Store, open_store
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import World, join_world
from train.scores.paper import PAPER, table
from train.scores.score_set import TASKS, Overlap, Scores, overlap_of, overlaps, run_task
from train.scores.tasks.task import Options, Row

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})


class Bytes:
    """A token per byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


@pytest.fixture
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(GPT2(Shape(1, 2, 16, 64, 257)).eval(), Bytes(), 256, {}, {}, 1)


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "lambada_test.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"it is a passage {n * n}"}) + "\n" for n in range(10))
    )
    return path


def scored(
    loaded: LoadedModel, path: Path, store: Store, world: World = WORLD, **changes: Any
) -> Scores:
    task = dataclasses.replace(TASKS["lambada"], chunk=3, **changes.pop("task", {}))
    file = open_set("lambada", path, allow_altered=True)
    return run_task(task, file, loaded, world, Options(), store, "scores", weights="w", **changes)


def test_an_interrupted_run_goes_on_where_it_was(
    loaded: LoadedModel, passages: Path, tmp_path: Path
) -> None:
    whole = scored(loaded, passages, open_store(str(tmp_path / "whole")))
    asked: list[int] = []

    def outcomes(
        model: LoadedModel, entries: Sequence[Any], world: World, options: Options
    ) -> list[Row]:
        if len(asked) == 2:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(len(entries))
        return TASKS["lambada"].outcomes(model, entries, world, options)

    store = open_store(str(tmp_path / "again"))
    with pytest.raises(KeyboardInterrupt):
        scored(loaded, passages, store, task={"outcomes": outcomes})
    assert scored(loaded, passages, store, task={"outcomes": outcomes}) == whole
    assert asked == [3, 3, 0, 3, 1]
    assert scored(loaded, passages, store, task={"outcomes": outcomes}) == whole
    assert len(asked) == 5
    other = scored(loaded, passages, store, limit=4)
    assert other.figures["entries"] == 4
    assert other.about["outcomes"] != whole.about["outcomes"]


def test_a_limit_cuts_between_documents(loaded: LoadedModel, tmp_path: Path) -> None:
    """A figure per word divides what was scored by the words of just that."""
    long, short = "a sentence that takes more than one window of the model " * 3, "and a short one"

    def figures(name: str, text: str, limit: int = 0) -> Scores:
        path = tmp_path / f"news.en.heldout-{name}"
        path.write_text(text)
        file = open_set("1bw", path)
        return run_task(
            TASKS["1bw"],
            file,
            loaded,
            WORLD,
            Options(),
            open_store(str(tmp_path)),
            "s",
            weights="w",
            limit=limit,
        )

    first = figures("first", f"{long}\n")
    cut = figures("both", f"{long}\n{short}\n", limit=1)
    assert cut.figures == first.figures
    assert cut.about["limit"] == 1
    assert cut.figures["documents"] == 1
    whole = figures("both", f"{long}\n{short}\n", limit=2)
    assert whole.figures["documents"] == 2
    assert "limit" not in whole.about


def test_ranks_share_the_entries(loaded: LoadedModel, passages: Path, tmp_path: Path) -> None:
    """Two ranks one after the other: the first one's parts are waited for, the last one sees all."""
    whole = scored(loaded, passages, open_store(str(tmp_path / "whole")))
    store = open_store(str(tmp_path / "shared"))

    class Alone(World):
        def barrier(self) -> None:
            return

    first, second = (Alone(rank, 2, 0, WORLD.device, WORLD.dtype) for rank in (0, 1))
    with pytest.raises(FileNotFoundError):
        scored(loaded, passages, store, first)
    assert len(store.files("scores", recursive=True)) == 2
    assert scored(loaded, passages, store, second) == whole


def test_the_score_without_overlapping_entries(
    loaded: LoadedModel, passages: Path, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "s"))
    found = scored(loaded, passages, store, overlap=Overlap(0.25, frozenset({0, 3}), 10))
    lines = passages.read_text().splitlines()
    rest = tmp_path / "rest.jsonl"
    rest.write_text("\n".join(line for n, line in enumerate(lines) if n not in (0, 3)))
    expected = scored(loaded, rest, store).figures
    assert found.about["without_overlap"] == pytest.approx(expected, rel=1e-5)
    assert (found.about["overlapping_entries"], found.about["overlap_share"]) == (2, 0.25)
    assert found.figures["entries"] == 10
    other = scored(loaded, passages, store, overlap=Overlap(0.25, frozenset({0}), 9))
    assert "without_overlap" not in other.about, "another file: its entries are not these"


REST_OF_ROW = {"ngrams": 5, "share": 0.0, "share_of_own_train": None, "gpt2": None}


def test_overlap_is_read_from_the_reports_of_all_batches(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for batch, share, entries in (("a", 0.1, [1]), ("b", 0.2, [4])):
        rows = [
            {"testset": "deep/lambada_test", "n": n, "share_so_far": share * n} | REST_OF_ROW
            for n in (8, 13)
        ]
        counted = {"deep/lambada_test": {"entries": 10, "overlapping": entries}}
        report = {"table": rows, "worst_entries": [], "worst_pages": [], "entries": counted}
        store.write_json(f"reports/overlap-{batch}.json", report)
    assert overlaps(store, ["a", "b", "none"]) == {
        "deep/lambada_test": Overlap(1.6, frozenset({1, 4}), 10)
    }


@pytest.mark.parametrize(
    ("name", "path", "known_as"),
    [
        ("wikitext2", "wikitext2/wiki.test.tokens", "wikitext-2/wiki.test"),
        ("wikitext2", "wikitext2/wiki.test.tokens.txt.gz", "sets/wikitext2/wiki.test.tokens"),
        ("wikitext103", "wikitext103/wiki.test.tokens", "wikitext_103/wiki.test.tokens"),
        ("lambada", "x/mine.jsonl.gz", "x/mine"),
        ("lambada", "x/mine.jsonl", "lambada_test"),
        ("enwik8", "enwik8.zst", "deep/enwik8"),
        ("wmt14_fr_en", "newstest2014.en-fr.tsv", "newstest2014.en-fr.tsv"),
        ("ptb", "ptb.test.txt", None),
    ],
)
def test_a_set_is_known_to_dedup_by_its_file_and_folder(
    name: str, path: str, known_as: str | None
) -> None:
    others = [Overlap(share / 10, frozenset(), 1) for share in range(2)]
    measured = {"wikitextx/wiki.test": others[0], "hellaswag_val": others[1]}
    mine = Overlap(0.5, frozenset({1}), 3)
    if known_as is not None:
        measured[known_as] = mine
    found = overlap_of(SetFile(SETS[name], Path(path), b"", "", None), measured)
    assert found == (mine if known_as else None)


def test_two_sets_that_may_be_meant_are_none() -> None:
    measured = dict.fromkeys(("a/lambada_test", "b/lambada_test"), Overlap(0.5, frozenset(), 3))
    assert (
        overlap_of(SetFile(SETS["lambada"], Path("lambada_test.jsonl"), b"", "", None), measured)
        is None
    )


@pytest.mark.parametrize("content", ["", "{}", "[", '{"text": 3}', '{"text": "word"}', "\udcff"])
def test_a_file_in_another_format_is_named(
    loaded: LoadedModel, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "lambada.jsonl"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        InputError,
        match=r"test set lambada \(.*lambada.jsonl\).*expected a JSON object a line with text",
    ):
        scored(loaded, path, open_store(str(tmp_path / "s")))


def test_every_task_has_its_definition_and_the_paper_its_tasks() -> None:
    assert {name for name, _ in PAPER} <= set(TASKS)
    assert set(TASKS) == set(SETS)


def test_the_table_shows_the_paper_beside_ours() -> None:
    scores = {
        "sets": {
            "lambada": {"last_token_accuracy": 0.25, "word_perplexity": 123.456},
            "hellaswag": {"accuracy": 0.3},
        },
        "about": {
            "lambada": {"overlap_share": 0.012, "without_overlap": {"word_perplexity": 130.0}}
        },
    }
    assert table(scores).splitlines()[2:] == [
        "| lambada | word perplexity | 99.8 | 35.13 | 15.6 | 10.87 | 8.63 | 123.5 | 130 | 1.20% |",
        "| lambada | last token accuracy | 59.23 | 45.99 | 55.48 | 60.12 | 63.24 | 25 |  | 1.20% |",
        "| hellaswag | accuracy |  |  |  |  |  | 30 |  |  |",
    ]
