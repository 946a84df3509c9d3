"""Curves of metrics.jsonl in TensorBoard, Weights & Biases and trackio.

metrics.jsonl is the source. TensorBoard's file is rebuilt from it when a run continues, so it holds
one curve whatever was interrupted. Weights & Biases keeps its own run, continued under the same id.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.errors import ConfigError
from corpus.printable import printable
from train.checkpoints.run_folder import Board, CountingBoard, RunFolder
from train.config import RuntimeConfig
from train.monitoring.page import RunPage

log = logging.getLogger(__name__)

# A server that does not answer may take a minute and a half to fail (wandb): at most a twentieth of
# the training waits for it.
WAIT_RATIO = 19


def open_boards(folder: RunFolder, config: RuntimeConfig) -> list[CountingBoard]:
    """Open the boards of the settings, none of which can end the run.

    Raises: ConfigError if one that was asked for is not installed.
    """
    boards: list[Board] = [RunPage(folder)]
    if config.tensorboard:
        boards.append(TensorBoard(folder))
    if config.wandb_project:
        boards.append(WeightsAndBiases(folder, config.wandb_project))
    if config.trackio_project:
        boards.append(Trackio(folder, config.trackio_project))
    return [GuardedBoard(board) for board in boards]


class GuardedBoard:
    """A board whose errors are logged and counted.

    A board that failed is begun again, with all its lines, at a later flush: once an evaluation, and
    not before the time that its last failure took has passed WAIT_RATIO times. What it prints goes
    to stderr, since stdout is the command's.
    """

    def __init__(self, board: Board) -> None:
        self.name = type(board).__name__
        self.num_failures = 0
        self._board = board
        self._lines: list[Mapping[str, Any]] = []
        self._failed = False
        self._not_before = 0.0  # by the monotonic clock

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begin or continue the run."""
        self._lines = list(lines)
        self._try(lambda: self._board.begin(self._lines))

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line."""
        self._lines.append(line)
        if not self._failed:
            self._try(lambda: self._board.add(line))

    def flush(self) -> None:
        """Make all of it visible; a board that failed gets another chance first."""
        if self._failed and time.monotonic() >= self._not_before:
            self._failed = False
            self._try(lambda: self._board.begin(self._lines))
        if not self._failed:
            self._try(self._board.flush)

    def close(self) -> None:
        """No more lines."""
        if not self._failed:
            self._try(self._board.close)

    def _try(self, action: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                action()
        except Exception as error:
            # Other people's code, on a disk or network that may fail in any way.
            self._failed = True
            self._not_before = time.monotonic() + WAIT_RATIO * (time.monotonic() - started)
            self.num_failures += 1
            log.warning(
                "%s: %s: %s; training continues, the curves are tried again at the next evaluation",
                self.name, type(error).__name__, printable(str(error), max_chars=300),
            )  # fmt: skip


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

    The key, the server and the offline mode are wandb's own settings.
    """

    def __init__(self, folder: RunFolder, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _not_installed("wandb", project) from error

        self._wandb: Any = wandb
        self._folder = folder
        self._project = project
        self._run: Any = None
        # Lines that are there; None before the first start.
        self._num_sent: int | None = None

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Open the run, whose id is beside the run's other files, and send what it does not have."""
        known = self._folder.read("wandb.json")
        run_id = known["id"] if known else secrets.token_hex(8)
        if self._num_sent is None:
            self._num_sent = len(lines) if known else 0

        if self._run is None:
            self._run = self._opened(run_id)
            # Points are placed by their own step: those made again after an interruption fall on
            # the old ones.
            self._run.define_metric("*", step_metric="step")
        if known is None:
            self._folder.write("wandb.json", {"id": run_id})

        for line in lines[self._num_sent :]:
            self.add(line)

    def _opened(self, run_id: str) -> Any:
        try:
            return self._wandb.init(
                project=self._project,
                id=run_id,
                name=self._folder.run,
                resume="allow",
                config=self._folder.read("config.json"),
            )
        except Exception:
            # Its background process keeps a run that failed to open, and refuses to open it again.
            self._wandb.teardown()
            raise

    def add(self, line: Mapping[str, Any]) -> None:
        """A point of each curve."""
        self._run.log({**scalars(line), "step": line["step"]})
        self._num_sent = (self._num_sent or 0) + 1

    def flush(self) -> None:
        """wandb sends by itself."""

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


class Trackio:
    """A run in trackio's local store, continued by later starts under the same name."""

    def __init__(self, folder: RunFolder, project: str) -> None:
        try:
            import trackio
        except ImportError as error:
            raise _not_installed("trackio", project) from error

        self._trackio: Any = trackio
        self._folder = folder
        self._project = project
        self._run: Any = None
        self._num_sent: int | None = None

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Open the run, or continue it, and write what it does not have.

        Runs are found by their names, so one of another corpus or before a rebuild may have this
        one's: a mark in the folder says that the latest of the name is this one.
        """
        known = self._folder.read("trackio.json")
        if self._num_sent is None:
            self._num_sent = len(lines) if known else 0

        if self._run is None:
            self._run = self._trackio.init(
                project=self._project,
                name=self._folder.run,
                resume="allow" if known else "never",
                config=self._folder.read("config.json"),
                embed=False,
            )
        if known is None:
            self._folder.write("trackio.json", {"project": self._project})

        for line in lines[self._num_sent :]:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """A point of each curve."""
        self._run.log(scalars(line), step=line["step"])
        self._num_sent = (self._num_sent or 0) + 1

    def flush(self) -> None:
        """trackio writes by itself."""

    def close(self) -> None:
        """Wait until all is written."""
        # Not the run's own method, after which the library would finish it again at the exit.
        self._trackio.finish()


def _not_installed(library: str, project: str) -> ConfigError:
    return ConfigError(
        f"train.runtime.{library}_project = {project!r}: {library} is not installed; pip install {library}, or leave it empty"
    )
