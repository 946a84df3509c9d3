"""One step, then the loop: the one train function under every launcher.

A step takes `batch_size` sequences of the global order, shared by the ranks in micro-batches. Its loss is the sum over
all tokens divided by their number, whatever the number of ranks, so N ranks learn what one does up to rounding. What a
step does depends on (seed, step) and the weights alone; a run interrupted anywhere therefore ends as if it never was.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from corpus.errors import FatalError, Interrupted
from corpus.layout import Store
from corpus.progress import duration
from train.checkpoint import Checkpoint, Checkpoints, load_optimizers, load_weights, state_tensors
from train.config import TrainConfig
from train.data import Stream, device_batch, micro_batch_size
from train.distributed import World, peak_flops
from train.model import GPT2, num_parameters
from train.optimizer import build_optimizers, schedule, set_learning_rate
from train.record import RunFolder
from train.shape import Shape, flops_per_token
from train.validation import SplitLoss, split_loss

log = logging.getLogger(__name__)


Sampler = Callable[[GPT2, int, World], list[str]]
"""What a model would say after some step: texts."""


@dataclass(frozen=True)
class Job:
    """What to train on what; the parts that a test replaces are arguments."""

    store: Store
    run: str
    config: TrainConfig
    shape: Shape
    end_of_text: int
    stream: Stream
    val_blocks: Callable[[], Iterable[np.ndarray]]
    """The validation split from its start, 1-d blocks of at most block_size + 1 tokens."""
    val_bytes: int
    record: dict[str, Any]
    """What a checkpoint says of its origin: snapshot digest, tokenizer fingerprint, settings."""
    sampler: Sampler | None = None
    after_checkpoint: Callable[[dict[str, Any]], None] = field(default=lambda values: None)
    """Told of each checkpoint on every rank (Ray Train's report is a barrier)."""


class Trainer:
    """Model, optimizers and position in the data; `run` takes it from wherever it is to the last step."""

    def __init__(self, job: Job, world: World) -> None:
        config = job.config
        self.job = job
        self.world = world
        self.checkpoints = Checkpoints(job.store, job.run)
        self.folder = RunFolder(job.store, job.run)
        self.batch_size = config.resolved_batch_size
        self.micro_batch = micro_batch_size(self.batch_size, world.size, config.runtime.micro_batch_size)
        self.num_steps = config.steps(job.stream.num_blocks)
        torch.manual_seed(config.seed)
        self.model = GPT2(
            job.shape,
            dropout=config.model.dropout,
            document_end=job.end_of_text if config.model.document_mask else None,
            activation_checkpointing=config.runtime.activation_checkpointing,
        ).to(world.device)
        self.optimizers = build_optimizers(self.model, config, world.device)
        self.step = 0
        self.best_val_loss = math.inf
        self.val_loss: SplitLoss | None = None
        self.elapsed_s = 0.0
        self._started = time.monotonic()
        self._saved_step: int | None = None
        self._evaluated_step: int | None = None

    def resume(self) -> bool:
        """Continue after the newest whole checkpoint; False when there is none."""
        found = self.world.main_does(self.checkpoints.latest)
        if found is None:
            return False
        with self.checkpoints.local_copy(found) as files:
            load_weights(self.model, files, collective=self.world)
            load_optimizers(self.model, self.optimizers, files, collective=self.world)
        self._continue_after(found)
        return True

    def _continue_after(self, found: Checkpoint) -> None:
        self.job.stream.load_state_dict(found.record["stream"])
        self.step = self._saved_step = found.step
        self.elapsed_s = float(found.record["elapsed_s"])
        self.best_val_loss = (
            found.record["best_val_loss"] if found.record["best_val_loss"] is not None else math.inf
        )
        log.info("continuing after step %d of %d", self.step, self.num_steps)

    def run(self) -> dict[str, Any]:
        """Train to the last step. Gives the summary.

        Raises: Interrupted after a checkpoint on SIGINT or SIGTERM; FatalError when the loss is not finite.
        """
        config = self.job.config
        eval_interval = config.eval_interval or min(1000, math.ceil(self.num_steps / 10))
        checkpoint_interval = config.runtime.checkpoint_interval or eval_interval
        network = self._network()
        self.world.main_does(lambda: self.folder.open_metrics(self.step))
        meter = Meter(self)
        self._started = time.monotonic()
        with StopSignal() as stop:
            if self.step == 0:
                self._evaluate()
            while self.step < self.num_steps:
                if self._agree(stop.number) or not self._train_step(network, stop, meter):
                    self._save()
                    raise Interrupted(self._agree(stop.number))
                last = self.step == self.num_steps
                if last or self.step % eval_interval == 0:
                    meter.pause(self._evaluate)
                if last or self.step % checkpoint_interval == 0:
                    meter.pause(self._save)
        if self.val_loss is None:  # resumed after the last step was saved, before the run was committed
            self._evaluate()
        return self._summary()

    def _network(self) -> nn.Module:
        """The model as trained: compiled and data-parallel where asked. Weights stay those of `self.model`."""
        network: nn.Module = self.model
        if self.job.config.runtime.compile:
            network = torch.compile(network)
        if self.world.size > 1:
            devices = [self.world.device] if self.world.device.type == "cuda" else None
            network = DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True)
        return network.train()

    def _train_step(self, network: nn.Module, stop: StopSignal, meter: Meter) -> bool:
        """One optimizer step. False, and nothing changed, when a single process was told to stop in the middle."""
        position = self.job.stream.state_dict()
        rows = self.job.stream.next_batch(self.batch_size, self.world.rank, self.world.size)
        loss = torch.zeros((), device=self.world.device)
        starts = range(0, len(rows), self.micro_batch)
        for start in starts:
            if stop.number and self.world.size == 1:
                self._forget_gradients()
                self.job.stream.load_state_dict(position)
                return False
            self._seed_dropout(self.world.rank * len(rows) + start)
            with _synchronised(network, start == starts[-1]):
                loss += self._backward(network, rows[start : start + self.micro_batch])
        num_tokens = self.batch_size * self.job.shape.block_size
        mean = float(self.world.sum(loss)) / num_tokens
        norm = self._clip()
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise FatalError(self._explain_divergence(mean, norm, position))
        frac = schedule(self.step, self.num_steps, self.job.config.optimizer)
        set_learning_rate(self.optimizers, frac)
        for optimizer in self.optimizers:
            optimizer.step()
        self._forget_gradients()
        self.step += 1
        meter.add(mean, norm, frac * self.job.config.resolved_learning_rate, num_tokens)
        return True

    def _backward(self, network: nn.Module, rows: np.ndarray) -> Tensor:
        """Add the gradients of these rows; gives their summed loss. Ranks' gradients are averaged, hence world.size."""
        tokens, targets = device_batch(rows, self.world.device)
        with self.world.autocast():
            loss: Tensor = network(tokens, targets)
        (loss * (self.world.size / (self.batch_size * self.job.shape.block_size))).backward()
        return loss.detach()

    def _seed_dropout(self, sample: int) -> None:
        """Make dropout a function of the micro-batch's place in the global order, not of rank or history."""
        if self.model.dropout:
            place = self.step * self.batch_size + sample
            torch.manual_seed(hash((self.job.config.seed, place)) % 2**63)

    def _clip(self) -> float:
        limit = self.job.config.optimizer.grad_clip or math.inf
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), limit))

    def _forget_gradients(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _agree(self, number: int) -> int:
        """The signal any rank got, 0 for none: all stop after the same step."""
        if self.world.size == 1:
            return number
        numbers = torch.zeros(65, device=self.world.device)
        numbers[number] = 1
        return int(self.world.sum(numbers)[1:].argmax()) + 1 if bool(numbers[1:].any()) else 0

    def _evaluate(self) -> None:
        """Validation loss and samples, into the run's folder."""
        loss = split_loss(
            self.model,
            self.job.val_blocks(),
            self.job.val_bytes,
            batch=self.job.config.runtime.micro_batch_size,
            world=self.world,
        )
        self.val_loss, self._evaluated_step = loss, self.step
        self.best_val_loss = min(self.best_val_loss, loss.nats_per_token)
        self.world.main_does(lambda: self._report_evaluation(loss))

    def _report_evaluation(self, loss: SplitLoss) -> None:
        log.info(
            "step %d/%d  validation loss %.4f nats/token, %.4f bits/byte",
            self.step, self.num_steps, loss.nats_per_token, loss.bits_per_byte,
        )  # fmt: skip
        self.folder.log(
            step=self.step,
            val_loss=loss.nats_per_token,
            val_bits_per_byte=loss.bits_per_byte,
            val_tokens=loss.num_tokens,
        )
        if self.job.sampler is not None and self.step:
            self.folder.write_samples(self.step, self.job.sampler(self.model, self.step, self.world))
        self.folder.flush()

    def _save(self) -> None:
        """Commit a checkpoint of this step, once."""
        if self._saved_step == self.step:
            return
        val_loss = (
            self.val_loss.nats_per_token if self.val_loss and self._evaluated_step == self.step else None
        )
        record = {
            **self.job.record,
            "tokens": self.step * self.batch_size * self.job.shape.block_size,
            "num_steps": self.num_steps,
            "seed": self.job.config.seed,
            "stream": self.job.stream.state_dict(),
            "val_loss": val_loss,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "elapsed_s": self._elapsed(),
        }
        tensors = state_tensors(self.model, self.optimizers)
        self.checkpoints.save(
            self.step, tensors, record, self.world, keep_last=self.job.config.runtime.keep_last
        )
        self._saved_step = self.step
        log.info("checkpoint after step %d", self.step)
        self.job.after_checkpoint({"step": self.step, "val_loss": val_loss})

    def _elapsed(self) -> float:
        return self.elapsed_s + time.monotonic() - self._started

    def _explain_divergence(self, loss: float, norm: float, position: dict[str, int | str]) -> str:
        """The error line of a loss that is no number, with the documents that the batch came from."""
        self.job.stream.load_state_dict(position)
        first = int(position["index"])
        ids: dict[str, None] = {}
        for index in range(first, first + self.batch_size):
            ids.update(dict.fromkeys(document.doc_id for document in self.job.stream.documents(index)))
        named = ", ".join(list(ids)[:5])
        return (
            f"step {self.step}: loss {loss}, gradient norm {norm}; stopped before the update, last checkpoint: step "
            f"{self._saved_step}. The batch has {len(ids)} documents ({named}{', ...' if len(ids) > 5 else ''}): see corpus.explain; "
            "or begin a run with a lower train.optimizer.learning_rate"
        )

    def _summary(self) -> dict[str, Any]:
        assert self.val_loss is not None
        return {
            "steps": self.step,
            "tokens": self.step * self.batch_size * self.job.shape.block_size,
            "parameters": num_parameters(self.model),
            "val_loss": self.val_loss.nats_per_token,
            "val_bits_per_byte": self.val_loss.bits_per_byte,
            "best_val_loss": self.best_val_loss,
            "elapsed_s": round(self._elapsed(), 3),
        }


class Meter:
    """Loss and speed since the last line; rank 0 writes them."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._peak = peak_flops(trainer.world.device)
        self._since = self._last_line = time.monotonic()
        self._losses: list[float] = []
        self._tokens = 0
        self._rate = 0.0

    def add(self, loss: float, norm: float, learning_rate: float, num_tokens: int) -> None:
        """One step is done."""
        trainer = self._trainer
        self._losses.append(loss)
        self._tokens += num_tokens
        now = time.monotonic()
        due = trainer.step % trainer.job.config.runtime.log_interval == 0 or trainer.step == trainer.num_steps
        if not (due and trainer.world.is_main):
            return
        self._rate = self._tokens / max(1e-9, now - self._since)
        mean = sum(self._losses) / len(self._losses)
        trainer.folder.log(
            step=trainer.step,
            loss=mean,
            learning_rate=learning_rate,
            grad_norm=norm,
            tokens_per_s=round(self._rate, 1),
            mfu=self._mfu(),
        )
        if now - self._last_line >= trainer.job.config.runtime.progress_interval_s:
            self._last_line = now
            log.info("%s", self._line(mean))
        self._losses, self._tokens, self._since = [], 0, now

    def pause(self, action: Callable[[], None]) -> None:
        """Do something that is not training: its time counts in no rate."""
        started = time.monotonic()
        action()
        self._since += time.monotonic() - started

    def _mfu(self) -> float | None:
        """Share of the devices' peak that training arithmetic takes; None on a device of unknown peak."""
        if self._peak is None:
            return None
        trainer = self._trainer
        return round(self._rate * flops_per_token(trainer.job.shape) / (self._peak * trainer.world.size), 4)

    def _line(self, loss: float) -> str:
        trainer = self._trainer
        tokens_left = (trainer.num_steps - trainer.step) * trainer.batch_size * trainer.job.shape.block_size
        words = [
            f"step {trainer.step}/{trainer.num_steps}",
            f"loss {loss:.4f}",
            f"{self._rate:,.0f} tokens/s",
        ]
        mfu = self._mfu()
        if mfu is not None:
            words.append(f"MFU {mfu:.1%} of {(self._peak or 0) / 1e12:,.0f} TFLOP/s")
        return "  ".join([*words, f"ETA {duration(tokens_left / self._rate)}"])


class StopSignal:
    """Remembers SIGINT or SIGTERM while the block runs, so that a step is never cut; a second one acts as usual."""

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Not the main thread (a Ray worker, a notebook): the host program owns its signals.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: Any) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@contextlib.contextmanager
def _synchronised(network: nn.Module, last: bool) -> Iterator[None]:
    """Ranks exchange gradients in the last micro-batch of a step only."""
    if last or not isinstance(network, DistributedDataParallel):
        yield
        return
    with network.no_sync():
        yield
