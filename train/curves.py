"""Curves of metrics.jsonl in TensorBoard and Weights & Biases.

metrics.jsonl is the source. TensorBoard's file is rebuilt from it when a run continues, so it holds
one curve whatever was interrupted. Weights & Biases keeps its own run, continued under the same id.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.errors import ConfigError
from train.checkpoints.run_folder import Board, RunFolder
from train.config import RuntimeConfig


def open_boards(folder: RunFolder, config: RuntimeConfig) -> list[Board]:
    """Open the boards of the settings. Raises: ConfigError if wandb is not installed."""
    boards: list[Board] = []
    if config.tensorboard:
        boards.append(TensorBoard(folder))
    if config.wandb_project:
        boards.append(WeightsAndBiases(folder, config.wandb_project))
    return boards


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The curves a line of metrics.jsonl adds a point to."""
    return {
        name: value
        for name, value in line.items()
        if name not in ("step", "time")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }


class TensorBoard:
    """Event files in runs/<run>/tensorboard/, one per start.

    Those of earlier starts are replaced.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._store = folder.store
        self._path = f"{folder.path}/tensorboard"
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write the standing lines anew."""
        from tensorboardX import SummaryWriter  # takes half a second

        self._store.delete_dir(self._path)
        local = self._store.local_path(self._path)
        if local is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="webtext-tensorboard-")
            local = Path(self._scratch.name)

        self._writer = SummaryWriter(str(local))
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """A point of each curve."""
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"], walltime=line.get("time"))

    def flush(self) -> None:
        """Make all points visible; on an object store the file is sent."""
        self._writer.flush()
        if self._scratch is not None:
            for file in Path(self._scratch.name).iterdir():
                self._store.write_bytes(f"{self._path}/{file.name}", file.read_bytes())

    def close(self) -> None:
        """End the file."""
        self.flush()
        self._writer.close()
        if self._scratch is not None:
            self._scratch.cleanup()


class WeightsAndBiases:
    """A run at Weights & Biases, continued by later starts.

    How it gets there (key, server, offline) is wandb's settings.
    """

    def __init__(self, folder: RunFolder, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(
                f"train.runtime.wandb_project = {project!r}: wandb is not installed; pip install wandb, or leave it empty"
            ) from error

        self._wandb: Any = wandb
        self._folder = folder
        self._project = project
        self._run: Any = None

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Open the run; its id lies beside the run's other files."""
        known = self._folder.read("wandb.json")
        if known is None:
            known = {"id": secrets.token_hex(8)}
            self._folder.write("wandb.json", known)

        config = self._folder.read("config.json")
        self._run = self._wandb.init(
            project=self._project,
            id=known["id"],
            name=self._folder.run,
            resume="allow",
            config=config,
        )
        # Points are placed by their own step: those made again after an interruption fall on
        # the old ones.
        self._run.define_metric("*", step_metric="step")

    def add(self, line: Mapping[str, Any]) -> None:
        """A point of each curve."""
        self._run.log({**scalars(line), "step": line["step"]})

    def flush(self) -> None:
        """wandb sends by itself."""

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()
