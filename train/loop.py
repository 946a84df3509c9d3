"""One step, then the loop: the one train function under every launcher.

A step takes `batch_size` sequences of the global order, shared by the ranks in micro-batches. Its
loss is the sum over all tokens divided by their number, so N ranks learn the same as one, up to
rounding. A step depends on (seed, step) and the weights alone; a run interrupted anywhere therefore
ends like an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from corpus.errors import FatalError, InputError, Interrupted, SchemaError, WebtextError
from corpus.storage.store import Store
from train.checkpoints.checkpoint import (
    Checkpoint,
    Checkpoints,
    PendingSave,
    load_optimizers,
    load_weights,
    state_tensors,
)
from train.checkpoints.run_folder import RunFolder, differences, without_length
from train.config import TrainConfig
from train.data import (
    Stream,
    device_batch,
    next_rows,
    num_micro_batches,
    padded_rows,
)
from train.gpt2.document_attention import chooses_varlen
from train.gpt2.model import GPT2, num_parameters
from train.gpt2.parallel import exchanging, is_compiled, is_sharded, parallelise, reshard
from train.gpt2.shape import Shape, flops_per_token
from train.machine.distributed import World, micro_batch_size
from train.machine.memory import fitting_micro_batch
from train.machine.peaks import peak
from train.machine.stop_signal import StoppedError, StopSignal
from train.machine.stragglers import Stragglers
from train.monitoring.curves import open_boards
from train.monitoring.divergence import DivergedError, LossWatch
from train.monitoring.meter import SpeedMeter
from train.optimizer import build_optimizers, schedule, set_learning_rate
from train.validation import EvaluationError, SplitLoss, split_loss

log = logging.getLogger(__name__)


# From this long on, ranks ask one another before each micro-batch whether to stop; a shorter step
# is finished first.
SLOW_STEP_S = 5.0

# Starts that an evaluation may end, for example by using up the machine's memory, until it is
# skipped.
MAX_EVALUATION_STARTS = 2

# What a model would say after some step: texts.
Sampler = Callable[[GPT2, int, World], list[str]]


@dataclass(frozen=True)
class Job:
    """The parts of a training; tests replace some of them."""

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
    """Told of each committed checkpoint on every rank (Ray Train's report is a barrier)."""
    wanted_stop: Callable[[], int] = field(default=lambda: 0)
    """A signal's number where somebody without signals (a Ray driver) wants the run to stop, else 0."""


class Trainer:
    """Model, optimizers and position in the data; `run` continues to the last step."""

    def __init__(self, job: Job, world: World) -> None:
        config = job.config
        self.job = job
        self.world = world
        self.checkpoints = Checkpoints(job.store, job.run)
        self.folder = RunFolder(job.store, job.run)

        self.batch_size = config.resolved_batch_size
        self.micro_batch_size = _micro_batch_size(job, world)
        self.micro_batches = num_micro_batches(self.batch_size, world.size, self.micro_batch_size)
        self.num_steps = config.steps(job.stream.num_blocks)
        if config.init_state == "all" and config.max_steps is None:
            # Epochs come on top of the parent's steps; max_steps counts them all.
            self.num_steps += job.record["identity"].get("parent", {}).get("step", 0)
        usual = min(1000, math.ceil(self.num_steps / 10))
        self.eval_interval = config.eval_interval or usual
        # A run that is evaluated at its end only has checkpoints on the way.
        self.checkpoint_interval = config.runtime.checkpoint_interval or (
            self.eval_interval if self.eval_interval <= self.num_steps else usual
        )

        packed = config.data.packing == "documents"
        self.document_end = job.end_of_text if packed else None
        torch.manual_seed(config.seed)
        self.model = GPT2(
            job.shape,
            dropout=config.model.dropout,
            document_end=job.end_of_text if config.model.document_mask or packed else None,
            restart_positions=packed,
            activation_checkpointing=config.runtime.activation_checkpointing,
        ).to(world.device)

        self.model.bounded = self.model.document_end is not None and chooses_varlen(config, world)
        self.num_parameters = num_parameters(self.model)
        self.network = parallelise(self.model, world, config.runtime).train()
        self._compiled = is_compiled(self.model)
        self._pass_rows = 0
        self.optimizers = build_optimizers(self.model, config, world.device)
        self.watch = LossWatch(config.divergence)

        self.step = 0
        self.best_val_loss = math.inf
        self.val_loss: SplitLoss | None = None
        self.elapsed_s = 0.0
        self._started = time.monotonic()
        self._stopping = 0
        self._step_s = math.inf
        self._pending: PendingSave | None = None
        self._saved: Checkpoint | None = None
        self._evaluated_step: int | None = None
        # The step of the last evaluation that was tried, also if it failed.
        self._tried_step: int | None = None
        self._failures: Counter[str] = Counter()
        self._stragglers = Stragglers(world, config.runtime.rank_timeout_s)
        # Of the steps since the last line of metrics.jsonl.
        self._losses: list[float] = []

    def resume(self) -> bool:
        """Continue after the newest complete checkpoint; False if there is none.

        Raises: InputError with the differences if another run made it, or if all are damaged.
        """
        self.world.main_does(self.checkpoints.delete_remains)
        found = self.world.main_does(self.checkpoints.latest)
        if found is None:
            return False

        identity = found.record.get("identity", {})
        # The run's folder has compared the length: an extended run has checkpoints of a shorter one.
        asked = self.job.record.get("identity", {})
        differing = list(differences(without_length(identity), without_length(asked)))
        if differing:
            raise InputError(
                f"{self.job.store.root}/{found.path}: made otherwise: {'; '.join(differing)}; "
                "choose another --run name, or --rebuild to begin it again"
            )

        with self.checkpoints.local_copy(found) as files:
            load_weights(self.model, files, collective=self.world)
            load_optimizers(self.model, self.optimizers, files, collective=self.world)

        self._continue_after(found)
        return True

    def begin_with(
        self, checkpoints: Checkpoints, parent: Checkpoint, *, whole: bool, same_data: bool
    ) -> None:
        """Begin with another run's weights, and if `whole` after its step, with its moments.

        `same_data`: with its position in the data too. Raises: InputError if there is nothing left
        to train, or if the parent has weights only.
        """
        with checkpoints.local_copy(parent) as files:
            load_weights(self.model, files, collective=self.world)
            if whole:
                load_optimizers(self.model, self.optimizers, files, collective=self.world)
        if not whole:
            return

        if "stream" not in parent.record:
            raise InputError(
                f"{self.job.store.root}/{parent.path}: an imported model has no state of a training; "
                "set train.init_state='weights'"
            )
        if parent.step >= self.num_steps:
            raise InputError(
                f"train.max_steps = {self.num_steps}: the parent has {parent.step} steps, which count; "
                f"set it to more than {parent.step}"
            )
        self.step = parent.step
        self._restore(parent, with_data=same_data)
        # What the parent measured is not of this run's validation split.
        self.val_loss = self._evaluated_step = self._tried_step = None
        self.best_val_loss = math.inf

    def _continue_after(self, found: Checkpoint) -> None:
        self._saved, self.step = found, found.step
        self._restore(found, with_data=True)
        log.info("continuing after step %d of %d", self.step, self.num_steps)

    def _restore(self, found: Checkpoint, *, with_data: bool) -> None:
        """Take over the state in a checkpoint's record. Raises: SchemaError if it is not there."""
        record = found.record
        try:
            if with_data:
                self.job.stream.load_state_dict(record["stream"])
            self.watch.restore(**record["watch"])
            self._losses = [float(loss) for loss in record["losses"]]
            self.elapsed_s = float(record["elapsed_s"])
            best = record["best_val_loss"]
            self.best_val_loss = math.inf if best is None else float(best)
            if record["validation"] is not None:
                self.val_loss, self._evaluated_step = SplitLoss(**record["validation"]), self.step
                self._tried_step = self.step
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaError(
                f"{self.job.store.root}/{found.path}: checkpoint.json is not one of training "
                f"({type(error).__name__}: {error}); train again with --rebuild"
            ) from error

    def run(self) -> dict[str, Any]:
        """Train to the last step and return the summary.

        Raises: Interrupted after a checkpoint on SIGINT or SIGTERM; DivergedError for a batch that
        must not be learnt.
        """
        runtime = self.job.config.runtime
        self.world.main_does(
            lambda: self.folder.open_metrics(self._stands, open_boards(self.folder, runtime))
        )
        self._started = time.monotonic()

        with StopSignal() as stop, self._stragglers:
            try:
                self._loop(stop)
            except StoppedError:
                self._save(wait=True)
                raise Interrupted(self._stopping) from None
            except RuntimeError as error:
                raise self._named(error) from error
            finally:
                self._finish_save(quiet=True)
                if self.world.is_main:
                    self.folder.close_metrics()

        return self._summary()

    def _named(self, error: RuntimeError) -> Exception:
        """A timeout or a lost connection as an error that names the rank; any other as it is."""
        lost = isinstance(error, dist.DistError) or any(
            sign in str(error) for sign in ("Timed out", "timed out", "Connection closed", "gloo")
        )
        if self.world.size == 1 or not lost or isinstance(error, WebtextError):
            return error

        last = f"step {self._saved.step}" if self._saved else "none"
        return FatalError(
            f"step {self.step}: the ranks did not come together within train.runtime.rank_timeout_s = "
            f"{self.job.config.runtime.rank_timeout_s:g} ({str(error).splitlines()[0]}): "
            f"{self._stragglers.described() or 'no rank is known to be behind'}. Last checkpoint: {last}; "
            "run the same command again to continue after it"
        )

    def _loop(self, stop: StopSignal) -> None:
        """Steps, evaluations and checkpoints to the end.

        Raises: StoppedError between two of them.
        """
        meter = self._meter()
        if self._evaluation_due():
            # At step 0, or after a start from a checkpoint whose evaluation was cut off.
            meter.pause(lambda: self._evaluate(stop))

        while self.step < self.num_steps:
            self._train_step(stop, meter)
            if self._pending is not None and self._pending.failed():
                self._finish_save()  # not at the next checkpoint only

            # The checkpoint first: nothing that an evaluation does may cost the training before it.
            if self.step == self.num_steps or self.step % self.checkpoint_interval == 0:
                meter.pause(self._save)
            if self._evaluation_due():
                meter.pause(lambda: self._evaluate(stop))
            if self._stopping:
                raise StoppedError

        self._finish_save()

    def _stands(self, line: Mapping[str, Any]) -> bool:
        """True if a line of metrics.jsonl precedes the point of continuation."""
        if line["step"] > self.step:
            return False
        of_evaluation = "val_loss" in line or "failed" in line
        return not of_evaluation or line["step"] < self.step or self._evaluated_step == self.step

    def _meter(self) -> SpeedMeter:
        config = self.job.config.runtime
        device_peak = peak(self.world.device, self.world.dtype, config)
        if self.world.is_main:
            log.info(
                "%s x %d, %s; peak %.4g TFLOP/s a device (%s)",
                self.world.device.type, self.world.size, self.world.dtype, device_peak.flops / 1e12, device_peak.source,
            )  # fmt: skip

        return SpeedMeter(
            num_steps=self.num_steps,
            flops_per_token=flops_per_token(self.job.shape),
            peak=device_peak,
            devices=self.world.size,
            progress_interval_s=config.progress_interval_s,
        )

    def _evaluation_due(self) -> bool:
        on_the_way = self.eval_interval <= self.num_steps and self.step % self.eval_interval == 0
        due = self.step == self.num_steps or on_the_way
        return due and self._tried_step != self.step

    def _train_step(self, stop: StopSignal, meter: SpeedMeter) -> None:
        """One optimizer step.

        Raises: StoppedError, with nothing changed, when told to stop in the middle of a long one.
        """
        started = time.monotonic()
        self._stragglers.enter(self.step, "training")
        position = self.job.stream.state_dict()
        rows, first = next_rows(self.job.stream, self.batch_size, self.world)
        loss = torch.zeros((), device=self.world.device)
        parts = np.array_split(rows, self.micro_batches)
        # A compiled graph is of one shape: passes with a row less are padded to the first one's.
        self._pass_rows = len(parts[0])

        for number, part in enumerate(parts):
            if (self.world.size == 1 or self._step_s > SLOW_STEP_S) and self._told_to_stop(stop):
                self._forget_gradients()
                self.job.stream.load_state_dict(position)
                raise StoppedError
            self._seed_dropout(first)
            with exchanging(self.network, last=number == len(parts) - 1):
                loss += self._backward(part)
            first += len(part)

        num_tokens = self.batch_size * self.job.shape.block_size
        norm_tensor = self._clip()
        total, counted, norm = self._reduce(
            loss, norm_tensor, self._num_targets(rows), time.monotonic() - started, stop
        )
        mean = total / counted
        frac = schedule(self.step, self.num_steps, self.job.config.optimizer)
        updated = self._judge(mean, norm, position)

        if updated:
            set_learning_rate(self.optimizers, frac)
            for optimizer in self.optimizers:
                optimizer.step()

        self._forget_gradients()
        self.step += 1
        meter.add(num_tokens)
        if updated:
            self._losses.append(mean)
        self._log_step(meter, norm, frac)

    def _num_targets(self, rows: np.ndarray) -> int:
        """The number of counted targets: after a packed document's end there is none."""
        targets = rows[:, 1:].size
        if self.document_end is not None:
            targets -= int(np.count_nonzero(rows[:, :-1] == self.document_end))
        return targets

    def _reduce(
        self, loss: Tensor, norm: Tensor, num_targets: int, seconds: float, stop: StopSignal
    ) -> tuple[float, float, float]:
        """The summed loss of all ranks, their targets, and the gradient norm.

        With it, in one message, they agree on stopping and on how long a step takes. This is the
        only place of a step that waits for the device.
        """
        if self.world.size == 1:
            self._told_to_stop(stop)
            total, norm_value = torch.stack([loss.double(), norm.double()]).tolist()
            return total, float(num_targets), norm_value

        number = stop.number or self.job.wanted_stop()
        on_host = torch.zeros(68, dtype=torch.float64)
        on_host[1] = seconds
        on_host[1 + number] += float(number > 0)
        on_host[66] = num_targets

        values = on_host.to(self.world.device)
        values[0], values[67] = loss.double(), norm.double()
        total, all_seconds, *signals, counted, norms = self.world.sum(values).tolist()
        self._step_s = all_seconds / self.world.size
        self._stopping = next((number for number, count in enumerate(signals, 1) if count), 0)

        # Every rank has the same norm.
        return float(total), float(counted), norms / self.world.size

    def _told_to_stop(self, stop: StopSignal) -> bool:
        """True if any rank got a signal; asked by all together."""
        number = stop.number or self.job.wanted_stop()
        if self.world.size > 1:
            numbers = torch.zeros(65, device=self.world.device)
            numbers[number] = 1
            counts = self.world.sum(numbers)[1:]
            number = int(counts.argmax()) + 1 if bool(counts.any()) else 0

        self._stopping = number
        return number > 0

    def _backward(self, rows: np.ndarray) -> Tensor:
        """Add the gradients of these rows; gives their summed loss.

        Ranks' gradients are averaged, hence world.size.
        """
        missing = self._pass_rows - len(rows) if self._compiled else 0
        tokens, targets = device_batch(
            rows, self.world.device, document_end=self.document_end, num_padding=missing
        )
        bounds = self.model.bounds(padded_rows(rows, missing), self.world.device)
        with self.world.autocast():
            loss: Tensor = self.network(tokens, targets, with_ignored=missing > 0, bounds=bounds)
        (loss * (self.world.size / (self.batch_size * self.job.shape.block_size))).backward()
        return loss.detach()

    def _seed_dropout(self, sample: int) -> None:
        """Make dropout a function of the micro-batch's place in the global order, not of rank or history."""
        if self.model.dropout:
            place = self.step * self.batch_size + sample
            torch.manual_seed(hash((self.job.config.seed, place)) % 2**63)

    def _clip(self) -> Tensor:
        """Clip the gradients; gives their norm before that, on the device."""
        limit = self.job.config.optimizer.grad_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        whole: Tensor = norm.full_tensor() if is_sharded(self.model) else norm
        return whole

    def _judge(self, loss: float, norm: float, position: dict[str, int | str]) -> bool:
        """Decide whether to learn this batch.

        Raises: DivergedError where the settings say stop, naming its documents.
        """
        action, reason = self.watch.judge(loss, norm)
        if action == "go":
            return True

        documents = self._documents(position)
        named = f"{', '.join(documents[:5])}{', ...' if len(documents) > 5 else ''}"
        about = f"step {self.step}: {reason}; the batch has {len(documents)} documents ({named}): see webtext explain"
        if self.world.is_main:
            self.folder.log(step=self.step + 1, **{action: reason}, documents=documents)
        if action == "stop":
            self._finish_save(quiet=True)
            last = f"step {self._saved.step}" if self._saved else "none"
            raise DivergedError(
                f"{about}. Stopped before the update, last checkpoint: {last}; go on without such batches with "
                "--set train.divergence.on_nan=skip --set train.divergence.on_spike=skip, or begin a run with a lower "
                "train.optimizer.learning_rate"
            )

        if self.world.is_main:
            log.warning("%s%s", about, "; skipped" if action == "skip" else "")
        return action == "warn"

    def _documents(self, position: dict[str, int | str]) -> list[str]:
        """Ids of the documents in the batch at `position`.

        The stream is where it was afterwards.
        """
        stream = self.job.stream
        now = stream.state_dict()
        stream.load_state_dict(position)
        first = int(position["index"])
        ids: dict[str, None] = {}
        for index in range(first, first + self.batch_size):
            ids.update(dict.fromkeys(document.doc_id for document in stream.documents(index)))
        stream.load_state_dict(now)
        return list(ids)

    def _log_step(self, meter: SpeedMeter, norm: float, frac: float) -> None:
        if self.step % self.job.config.runtime.log_interval and self.step < self.num_steps:
            return

        loss = statistics.fmean(self._losses) if self._losses else None
        self._losses.clear()
        if not self.world.is_main:
            return

        speed = meter.line(self.step, loss)
        if loss is not None:
            rate = frac * self.job.config.resolved_learning_rate
            # The last batch of the line may have been skipped for what JSON has no number for.
            known = {"grad_norm": norm} if math.isfinite(norm) else {}
            self.folder.log(step=self.step, loss=loss, learning_rate=rate, **known, **speed)

    def _forget_gradients(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _evaluate(self, stop: StopSignal) -> None:
        """Evaluate, and add the loss to this step's checkpoint. Failures are logged and counted.

        Raises: StoppedError when told to stop.
        """
        self._tried_step = self.step
        self._stragglers.enter(self.step, "evaluation")
        if not self.world.main_does(self._begin_evaluation):
            return

        try:
            self._measure(stop)
        except StoppedError:
            self.world.main_does(lambda: self.folder.forget("evaluating.json"))
            raise
        except Exception as error:
            if self.world.size > 1 and not isinstance(error, EvaluationError):
                # The other ranks know nothing of it: they would wait for this one.
                raise
            self._failed("evaluation", error)
        finally:
            reshard(self.model)

        self.world.main_does(lambda: self.folder.forget("evaluating.json"))
        self._amend()

    def _begin_evaluation(self) -> bool:
        """Count the starts of this evaluation; False if it has ended the process too often.

        An evaluation that is killed, by the kernel for its memory, would otherwise end each start.
        """
        found = self.folder.read("evaluating.json") or {}
        starts = found.get("starts", 0) if found.get("step") == self.step else 0
        if starts >= MAX_EVALUATION_STARTS:
            self._failed("evaluation", RuntimeError(f"the process ended in it {starts} times"))
            self.folder.forget("evaluating.json")
            return False

        self.folder.write("evaluating.json", {"step": self.step, "starts": starts + 1})
        return True

    def _measure(self, stop: StopSignal) -> None:
        """Validation loss and samples, into the run's folder. Raises: StoppedError when told to stop."""
        loss = split_loss(
            self.model,
            self.job.val_blocks(),
            self.job.val_bytes,
            batch=self.micro_batch_size,
            world=self.world,
            interrupted=lambda: self._told_to_stop(stop),
        )

        self.val_loss, self._evaluated_step = loss, self.step
        self.best_val_loss = min(self.best_val_loss, loss.nats_per_token)
        texts = self._samples() if self.world.is_main or is_sharded(self.model) else None
        self.world.main_does(lambda: self._report_evaluation(loss, texts))

    def _samples(self) -> list[str] | None:
        """Texts of the model as it is; None if none are wanted, or if the sampler failed."""
        if self.job.sampler is None or not self.step:
            return None

        try:
            return self.job.sampler(self.model, self.step, self.world)
        except Exception as error:
            self._failed("samples", error)
            return None

    def _failed(self, what: str, error: Exception) -> None:
        """Log and count a failure that does not end the run."""
        self._failures[what] += 1
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        if not self.world.is_main:
            return

        reason = f"{type(error).__name__}: {error}"
        log.warning(
            "step %d: %s failed: %s; training continues, and tries again at the next evaluation",
            self.step, what, reason, exc_info=error,
        )  # fmt: skip
        self.folder.log(step=self.step, failed=what, reason=reason)

    def _amend(self) -> None:
        """Add the evaluation to the checkpoint of this step, if there is one."""
        if self._evaluated_step != self.step:
            return

        record = self._record()
        saved = self._saved
        if self._pending is not None:
            if self._pending.step == self.step:
                self._pending.amend(record)
        elif saved is not None and saved.step == self.step:
            self._saved = self.world.main_does(lambda: self.checkpoints.amend(saved, record))

    def _report_evaluation(self, loss: SplitLoss, texts: list[str] | None) -> None:
        per_byte = f", {loss.bits_per_byte:.4f} bits/byte" if loss.num_bytes else ""
        log.info(
            "step %d/%d  validation loss %.4f nats/token%s",
            self.step, self.num_steps, loss.nats_per_token, per_byte,
        )  # fmt: skip
        self.folder.log(
            step=self.step,
            val_loss=loss.nats_per_token,
            **({"val_bits_per_byte": loss.bits_per_byte} if loss.num_bytes else {}),
            val_tokens=loss.num_tokens,
        )
        if texts is not None:
            self.folder.write_samples(self.step, texts)
        self.folder.flush()

    def _save(self, *, wait: bool = False) -> None:
        """Commit a checkpoint of this step, once; the one before it is finished first."""
        self._stragglers.enter(self.step, "checkpoint")
        self._finish_save()
        record = self._record()
        if self._saved is not None and self._saved.step == self.step:
            return

        self.world.main_does(
            self.folder.flush
        )  # a start from this checkpoint makes no earlier line again
        runtime = self.job.config.runtime
        tensors = state_tensors(self.model, self.optimizers)

        if runtime.async_checkpoints and not wait:
            self._pending = self.checkpoints.begin(
                self.step, tensors, record, self.world, keep_last=runtime.keep_last
            )
        else:
            self._committed(
                self.checkpoints.save(
                    self.step, tensors, record, self.world, keep_last=runtime.keep_last
                )
            )

    def _record(self) -> dict[str, Any]:
        """The record of a checkpoint at this moment, without its tensors."""
        evaluated = self.val_loss if self._evaluated_step == self.step else None
        return {
            **self.job.record,
            "tokens": self.step * self.batch_size * self.job.shape.block_size,
            "num_steps": self.num_steps,
            "seed": self.job.config.seed,
            "stream": self.job.stream.state_dict(),
            "watch": self.watch.state(),
            "losses": list(self._losses),
            "validation": vars(evaluated) if evaluated else None,
            "val_loss": evaluated.nats_per_token if evaluated else None,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "elapsed_s": self._elapsed(),
        }

    def _finish_save(self, *, quiet: bool = False) -> None:
        """Wait for the checkpoint being written.

        Raises: FatalError when it failed; `quiet` (on the way out) says so only.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return

        try:
            self._committed(pending.wait())
        except Exception:
            if not quiet:
                raise
            log.exception("the checkpoint of step %d was not written", pending.step)

    def _committed(self, checkpoint: Checkpoint) -> None:
        self._saved = checkpoint
        log.info("checkpoint after step %d", checkpoint.step)
        self.job.after_checkpoint(
            {"step": checkpoint.step, "val_loss": checkpoint.record["val_loss"]}
        )

    def _elapsed(self) -> float:
        return self.elapsed_s + time.monotonic() - self._started

    def _summary(self) -> dict[str, Any]:
        # The loss of an earlier step would be taken for this one's.
        last = self.val_loss if self._evaluated_step == self.step else None
        failures = self._failures + self.folder.board_failures()
        return {
            "steps": self.step,
            "tokens": self.step * self.batch_size * self.job.shape.block_size,
            "parameters": self.num_parameters,
            "val_loss": last.nats_per_token if last else None,
            "val_bits_per_byte": last.bits_per_byte if last and last.num_bytes else None,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "elapsed_s": round(self._elapsed(), 3),
            **({"failures": dict(failures)} if failures else {}),
        }


def _micro_batch_size(job: Job, world: World) -> int:
    """Sequences of a forward pass, equal on all ranks: as set, or as a GPU's memory allows."""
    config = job.config
    # Dropout falls by the micro-batch: it must not depend on the memory that happens to be free.
    if world.device.type != "cuda" or config.runtime.micro_batch_size or config.model.dropout:
        return micro_batch_size(config.runtime, world.device, job.shape.block_size)

    free_bytes, _ = torch.cuda.mem_get_info(world.device)
    shards = {"ddp": 1, "fsdp": world.size, "hsdp": world.local_size}[config.runtime.parallel]
    size = min(
        world.gather(
            fitting_micro_batch(job.shape, free_bytes, world.dtype, config.runtime, shards)
        )
    )
    if world.is_main:
        log.info("%d sequences a pass, by %.1f GB of free memory", size, free_bytes / 1e9)
    return size
