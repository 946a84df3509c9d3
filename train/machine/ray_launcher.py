"""Ray Train as a launcher: the same train function in the workers of a cluster.

Ray places the workers, sets RANK and WORLD_SIZE, joins the process group, and starts anew after a
failure; checkpoints and the position in the data are ours, in the corpus, so that a run may go on
under any launcher. Ray Train's `report` is a barrier that every worker passes equally often: once
per checkpoint. A plain torchrun starts some 35 s sooner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from corpus.errors import ConfigError, FatalError, InputError, Interrupted, WebtextError
from corpus.run import command
from corpus.run.executors import open_executor
from corpus.storage.store import open_corpus
from train.checkpoints.run_folder import RunFolder
from train.job import RunRequest, RunResult, claim, run_lock, train
from train.monitoring.divergence import DivergedError

# In the run's folder: why the workers stopped on purpose.
FAILURE = "failure.json"

# Errors of the workers that the driver raises again as what they were: exit codes and sweeps go
# by them.
KINDS: dict[str, type[FatalError]] = {
    "input": InputError,
    "diverged": DivergedError,
    "fatal": FatalError,
}

# In the run's folder: the signal that the driver got; rank 0 looks for it.
STOP = "stop.json"

POLL_S = 1.0
# How long the driver waits for the workers' checkpoint after a signal.
STOP_GRACE_S = 27.0

LOOPBACK = "127.0.0.1"

# Starts after a lost worker or node before the run is given up. It goes on with the next start of
# the door.
MAX_FAILURES = 3


def num_workers(text: str) -> int | tuple[int, int]:
    """`4` as 4, `2:8` as (2, 8). Raises: ConfigError for anything else."""
    match = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", text)
    if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
        raise ConfigError(f"--ray-workers {text}: expected N or MIN:MAX")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def require_ray_train() -> None:
    """Raises: InputError where Ray Train could not be loaded.

    pandas is no part of `all`: Arrow would load it in every process.
    """
    missing = [name for name in ("ray", "pandas") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--ray-workers: Ray Train needs {' and '.join(missing)}; pip install 'webtext[raytrain]', or use torchrun"
        )


def train_on_ray(request: RunRequest, workers: int | tuple[int, int]) -> RunResult:
    """Train in `workers` processes of the cluster that RAY_ADDRESS names, or of one started here.

    Raises: as `train.job.train`; FatalError when workers keep failing.
    """
    store = open_corpus(request.corpus)
    if (local := store.local_path("")) is not None:  # workers have a working directory of their own
        request = dataclasses.replace(request, corpus=str(local))
    folder = RunFolder(store, request.run)

    with run_lock(request):
        done = claim(request)
        if done is not None:
            return RunResult(done, up_to_date=True)
        folder.forget(FAILURE)
        folder.forget(STOP)
        _fit(dataclasses.replace(request, rebuild=False), workers, folder)
        failure, summary = folder.read(FAILURE), folder.read("summary.json")

    if failure is not None:
        raise KINDS[failure["kind"]](failure["error"])
    if summary is None:
        raise FatalError(
            f"run {request.run}: the workers ended without a summary; run the same command again"
        )

    return RunResult(summary, up_to_date=False)


def _fit(request: RunRequest, workers: int | tuple[int, int], folder: RunFolder) -> None:
    """Run the workers to their end.

    The run's name at Ray is new each time: resuming is ours, not Ray's.
    """
    with (
        open_executor("ray", workers if isinstance(workers, int) else workers[1]) as executor,
        command.interruptible(),
    ):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer

        from corpus.run.executors.ray import RayExecutor

        is_private = isinstance(executor, RayExecutor) and executor.is_private
        use_gpu = (
            request.config.runtime.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        )

        with tempfile.TemporaryDirectory(prefix="webtext-ray-") as scratch:
            trainer = TorchTrainer(
                _worker,
                train_loop_config={"request": pickle.dumps(request)},
                torch_config=_loopback_config() if is_private else None,
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
                run_config=RunConfig(
                    name=f"{request.run}-{secrets.token_hex(4)}",
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                ),
            )
            try:
                _wait(trainer.fit, folder)
            except TrainingFailedError as error:
                last = str(error).strip().splitlines()[-1:]
                raise FatalError(
                    f"Ray Train gave up: {' '.join(last)}; run the same command to go on"
                ) from error


def _loopback_config() -> Any:
    """Settings of Ray Train for ranks of one machine, whose ports are on loopback.

    By itself Ray Train starts a TCPStore, and that of torch listens on all interfaces without a
    password: it tells each rank the others' addresses, and ranks unpickle what others send.
    """
    from ray.train.torch import TorchConfig

    torch_backend: Any = TorchConfig().backend_cls

    class LoopbackBackend(torch_backend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            port = worker_group.execute_single(0, open_loopback_store)
            worker_group.execute(_name_store, port)

    class LoopbackConfig(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return LoopbackBackend

    return LoopbackConfig()


# The store of this worker's process group, kept while the process lives.
_stores: list[Any] = []


def open_loopback_store() -> int:
    """Open a store for the ranks' process group on loopback, and return its port."""
    from torch.distributed import TCPStore

    # The store takes any address, unless it is given a socket. It closes the socket itself.
    listener = socket.create_server((LOOPBACK, 0))
    port = int(listener.getsockname()[1])
    store = TCPStore(
        LOOPBACK,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    _stores.append(store)
    return port


def _name_store(port: int) -> None:
    """Set a worker's environment, so that `join_world` makes a group by the store at a port."""
    import ray.train

    context = ray.train.get_context()
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        # Rank 0 is a client of the store like the others.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        # NCCL leaves out loopback unless it is named. Gloo's interface follows the master.
        "NCCL_SOCKET_IFNAME": "lo",
    }


def _wait(fit: Callable[[], object], folder: RunFolder) -> None:
    """Let `fit` end; on a signal tell the workers to save and stop, and wait for that.

    In a thread of its own, `fit` leaves this process's signal handlers alone.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="ray-train")
    running = executor.submit(fit)
    executor.shutdown(wait=False)

    try:
        running.result()
    except Interrupted as stop:
        folder.write(STOP, {"signal": stop.signal_number})
        with contextlib.suppress(
            Exception
        ):  # whatever it is, the state kept is the last checkpoint
            running.result(timeout=STOP_GRACE_S)
        raise


def _worker(settings: dict[str, Any]) -> None:
    """The train function of one worker.

    An error of ours is told through the run's folder: starting anew cannot mend it.
    """
    import ray.train

    request: RunRequest = pickle.loads(settings["request"])
    folder = RunFolder(open_corpus(request.corpus), request.run)
    is_main = ray.train.get_context().get_world_rank() == 0
    watch = _StopFile(folder) if is_main else None

    try:
        train(
            request,
            locked=True,
            after_checkpoint=ray.train.report,
            wanted_stop=(lambda: watch.number) if watch else None,
        )
    except WebtextError as error:
        if is_main:
            kind = next((name for name, kind in KINDS.items() if isinstance(error, kind)), "fatal")
            folder.write(FAILURE, {"error": str(error), "kind": kind})
    finally:
        if watch:
            watch.close()


class _StopFile:
    """Looks for STOP beside the training; a worker is sent no signals."""

    def __init__(self, folder: RunFolder) -> None:
        self.number = 0
        self._folder = folder
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stop-file", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._closed.wait(POLL_S):
            found = None
            with contextlib.suppress(
                OSError, WebtextError
            ):  # a store that fails now is asked again
                found = self._folder.read(STOP)
            if found is not None:
                self.number = int(found["signal"])
                return

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join()
