"""Other projects read our token files: the lines of docs/shards.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import open_store
from corpus.tables.parquet import read_file, read_table
from shards.reader import open_split

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
