"""Other projects read our token files: the lines of docs/shards.md, run as they stand there."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.stateful import Stateful

from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import open_store
from corpus.tables.parquet import read_file, read_table
from shards.reader import IGNORED, open_split

PAGE = Path(__file__).parents[2] / "docs/shards.md"
README = Path(__file__).parents[2] / "README.md"
SNAPSHOT = 'snapshot_files("my", "first", "train"'


def lines_of(heading: str) -> str:
    """The code block under a heading of docs/shards.md."""
    found = re.search(rf"### {heading}\n.*?```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None, f"{PAGE} has no code under {heading}"
    return found[1]


@pytest.fixture(scope="module")
def tokens(built: str) -> np.ndarray:
    """The tokens of batch b1, without padding, by our own reader."""
    split = open_split(built, "b1", "train")
    return split.slice(0, split.num_tokens)


@pytest.mark.parametrize("reader", ["pyarrow", "DuckDB", "PyTorch"])
def test_a_stranger_s_five_lines(built: str, tokens: np.ndarray, reader: str) -> None:
    program = lines_of(reader)
    assert program in README.read_text("utf-8")
    assert program.count(SNAPSHOT) == 1
    program = program.replace(SNAPSHOT, f'snapshot_files("{built}", "b1", "train"')
    assert (
        len([line for line in program.splitlines() if line and not line.startswith("import")]) <= 5
    )
    names: dict[str, Any] = {}
    exec(compile(program, reader, "exec"), names)
    rows = np.asarray(names["rows"]).astype(np.uint16)
    assert rows.shape[1] == 64
    files = read_snapshot(open_store(built), "b1").splits["train"].files
    found, at = [], 0
    for file in files:
        found.append(rows[at : at + file.rows].ravel()[: file.num_tokens])
        at += file.rows
    assert at == len(rows)
    assert np.array_equal(np.concatenate(found), tokens)


def test_spans_lead_from_tokens_to_pages_in_sql(built: str) -> None:
    program = (
        lines_of("Which pages the tokens are from")
        .replace("my/", f"{built}/")
        .replace(SNAPSHOT, f'snapshot_files("{built}", "b1", "train"')
        .replace("2024-01", "b1")
    )
    names: dict[str, Any] = {}
    exec(compile(program, "pages", "exec"), names)
    store = open_store(built)
    urls = {
        row["doc_id"]: row["url"]
        for row in read_table(store, "documents", "b1", ["doc_id", "url"]).to_pylist()
    }
    parts = [file.spans_path for file in read_snapshot(store, "b1").splits["train"].files]
    spans = [row for path in parts for row in read_file(store, path).to_pylist()]
    expected = sorted(((row["num_tokens"], urls[row["doc_id"]]) for row in spans), reverse=True)[
        :10
    ]
    assert [(tokens, url) for url, tokens in names["pages"]] == expected


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_continues_the_stream_where_its_checkpoint_is(
    built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/shards.md, in one run and in two."""
    lightning = pytest.importorskip(
        "lightning", reason="lightning is not installed: pip install lightning"
    )
    program = lines_of("PyTorch Lightning").replace(
        'open_split("my", "first", "train")', f'open_split("{built}", "b1", "train")'
    )
    quiet = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    names: dict[str, Any] = {}
    plain = lightning.Trainer

    class Short(plain):  # type: ignore[misc, valid-type]
        def __init__(self, **settings: Any) -> None:
            assert settings.pop("max_steps") == 20
            super().__init__(
                max_steps=0, accelerator="cpu", default_root_dir=tmp_path, **settings, **quiet
            )

    monkeypatch.setattr(lightning, "Trainer", Short)
    exec(compile(program, "lightning", "exec"), names)

    class Watched(names["Model"]):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[bytes] = []

        def training_step(self, batch: Any, number: int) -> Any:
            self.seen.append(batch[0].numpy().tobytes())
            return super().training_step(batch, number)

    def fit(steps: int, checkpoint: str | None = None) -> tuple[Any, list[bytes]]:
        trainer, model = plain(max_steps=steps, accelerator="cpu", **quiet), Watched()
        trainer.fit(model, datamodule=names["Data"](), ckpt_path=checkpoint)
        return trainer, model.seen

    _, whole = fit(5)
    first, begun = fit(2)
    first.save_checkpoint(tmp_path / "two.ckpt")
    _, rest = fit(5, str(tmp_path / "two.ckpt"))
    assert begun + rest == whole
    assert len(set(whole)) == 5


def torchtitan_or_its_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchtitan 0.3 wants an older `datasets` than the tests have; without it, its base class as it is there."""
    try:
        import torchtitan.components.dataloader  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:

        class Plain:
            owner: type | None = None

            def build(self, **runtime: Any) -> Any:
                assert self.owner is not None
                return self.owner(config=dataclasses.replace(self), **runtime)  # type: ignore[type-var]

        class BaseDataLoader(Stateful, ABC):
            Config = dataclasses.make_dataclass(
                "Config",
                [("dataset", str, ""), ("dataset_path", str | None, None)],
                bases=(Plain,),
                kw_only=True,
            )

            def __init_subclass__(cls) -> None:
                cls.Config.owner = cls

            @abstractmethod
            def __iter__(self) -> Any: ...

        for name in ("torchtitan", "torchtitan.components", "torchtitan.components.dataloader"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules[name].BaseDataLoader = BaseDataLoader  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # one process, as meant
def test_torchtitan_s_loader_continues_on_other_ranks_from_its_checkpoint(
    built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/shards.md, saved and loaded by torch's distributed checkpoints as torchtitan does."""
    torchtitan_or_its_interface(monkeypatch)
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(lines_of("torchtitan"), "torchtitan", "exec"), names)
    config = names["CorpusLoader"].Config(corpus=built, snapshot="b1", seed=5)

    def loader(rank: int, world: int) -> Any:
        # What the trainer gives, as far as it matters; its tokenizer is not used.
        runtime = {"tokenizer": None, "snapshot_every_n_steps": 1}
        return config.build(
            dp_world_size=world, dp_rank=rank, seq_len=300, local_batch_size=4 // world, **runtime
        )

    def take(each: Any, count: int) -> list[tuple[torch.Tensor, ...]]:
        return [
            (inputs["input"], inputs["positions"], labels)
            for inputs, labels in itertools.islice(iter(each), count)
        ]

    whole = take(loader(0, 1), 5)
    first = loader(0, 1)
    begun = take(first, 2)
    dcp.save({"dataloader": first}, checkpoint_id=tmp_path / "step-2", no_dist=True)
    later = [loader(rank, 2) for rank in range(2)]
    for each in later:
        dcp.load({"dataloader": each}, checkpoint_id=tmp_path / "step-2", no_dist=True)
    shares = zip(*(take(each, 3) for each in later), strict=True)
    rest = [tuple(torch.cat(parts) for parts in zip(*ranks, strict=True)) for ranks in shares]
    for found, expected in zip([*begun, *rest], whole, strict=True):
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    tokens, positions, labels = (torch.cat(parts) for parts in zip(*whole, strict=True))
    assert tokens.shape == positions.shape == labels.shape == (20, 300)
    assert (positions.max(1).values < 299).any(), "no document began in a row"
    assert torch.equal(labels == IGNORED, tokens == 50256)
