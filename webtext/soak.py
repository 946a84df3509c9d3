"""Plays a made month twice on a store and an executor, once undisturbed and once under faults.

    webtext soak --corpus s3://bucket/soak [--executor ray] [--kills 6] [--freezes 1]
                 [--lost 0.02] [--joins 2]

Two corpora are made below the given place. In the second, commands are killed at random moments
(SIGKILL) and started again. The longest stage is not killed if something else happens to it: a
worker process is frozen (SIGSTOP), or nodes join and fail. On an object store, a share of the
answers to this machine is lost (over HTTPS by a tunnel, which listings do not take). All tables and
tokens must be the same bytes. Nothing is fetched. The exit code is 1 if a byte differs or a command
does not end. Both corpora are deleted afterwards, unless --keep.

With --joins, the cluster of RAY_ADDRESS must be idle. All of its CPUs are reserved, the stage is
started, and nodes of one CPU join from this machine, one after the other. So a node that joins
during the stage must be used: one that runs no task within two minutes ends the soak with exit code
1. At work, the first is killed and the second frozen; then the CPUs are given back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from corpus.errors import FatalError, InputError
from corpus.run import command
from corpus.run.progress import duration
from corpus.storage.store import Store, open_store, work_dir
from corpus.tables.schemas import TABLES
from webtext.soak_network import losing_answers
from webtext.soak_nodes import LOOK_S, JoinedNode, children, command_line

BATCH = "2000-01"
STAGES = ("clean", "dedup", "shards")
# Settings for generated texts to pass, with small parts: every step has several.
SETTINGS = (
    "clean.language.min_score=0.0",
    "clean.quality.min_words=5",
    "shards.writer.val_frac=0.2",
    "run.task_timeout=5m",
)
WORDS = [
    "river",
    "mountain",
    "letter",
    "window",
    "garden",
    "music",
    "winter",
    "harbour",
    "candle",
    "paper",
    "silver",
    "bridge",
    "morning",
    "village",
    "captain",
    "story",
    "shadow",
    "orchard",
    "weather",
    "kitchen",
]
# Enough parts for workers and nodes to fail at some of them.
NUM_PARTS = 8
# Seconds until a command without a kill counts as hung.
HUNG_S = 900.0
# Seconds for a stage to take its lease, which follows the connection to the executor.
LEASE_S = 120.0
# Seconds that a killed node's lease may live on, when the next start runs elsewhere.
WAIT = "5m"


@dataclass(slots=True)
class Survived:
    """The disturbances of a corpus, and their outcome."""

    kills: int = 0
    freezes: int = 0
    joins: int = 0
    """Nodes that joined and ran a task."""
    answers: int = 0
    lost: int = 0
    """Answers of the store that were lost."""
    starts: int = 0
    calm_s: float = 0.0
    disturbed_s: float = 0.0
    files: int = 0
    num_bytes: int = 0
    differing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chaos:
    """The disturbances to make."""

    kills: int
    freezes: int
    joins: int
    lost: float
    """Share of the store's answers."""
    rng: random.Random


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.soak")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    name = f"soak-{secrets.token_hex(4)}"
    place = f"{args.corpus.rstrip('/')}/{name}"
    calm, rough = f"{place}/calm", f"{place}/disturbed"
    words = ["--executor", args.executor, "--wait", WAIT]
    words += ["--workers", str(args.workers)] if args.workers else []

    # Workers of other executors are not below the command.
    freezes = args.freezes if args.freezes is not None else int(args.executor == "pool")
    chaos = Chaos(
        args.kills,
        freezes,
        args.joins,
        args.lost if not open_store(args.corpus).is_local else 0.0,
        random.Random(args.seed),
    )
    if args.joins and args.executor != "ray":
        raise InputError(f"--joins {args.joins}: only a Ray cluster has nodes; add --executor ray")
    if args.joins and not os.environ.get("RAY_ADDRESS"):
        raise InputError("--joins needs a cluster: set RAY_ADDRESS=host:port of its head")
    if freezes and args.executor != "pool":
        raise InputError(
            f"--freezes {freezes}: only --executor pool has workers to freeze; on Ray, the second "
            "node of --joins is frozen"
        )

    try:
        found = play(calm, rough, words, args.documents, chaos)
    finally:
        if not args.keep:
            with contextlib.suppress(OSError):
                open_store(args.corpus).delete_dir(name)

    print(render(found))
    if args.json:
        print(json.dumps(asdict(found)))
    return 1 if found.differing else 0


def play(calm: str, rough: str, words: Sequence[str], num_documents: int, chaos: Chaos) -> Survived:
    """Make both corpora and compare them. Raises: FatalError for a failing or hanging command."""
    found = Survived()
    with tempfile.TemporaryDirectory(prefix="webtext-soak-") as folder:
        source = Path(folder) / "month.jsonl"
        source.write_text("".join(_documents(num_documents)))
        columns = ["--text-column", "text", "--url-column", "url", "--date-column", "date"]
        parts = {"WEBTEXT_CRAWL__WARC__NUM_PARTS": str(NUM_PARTS)}
        _finish(_start("import", calm, ["--jsonl", str(source), *columns], parts))
    # The same pages for both: an import notes the time.
    _copy(open_store(calm), open_store(rough))

    took: dict[str, float] = {}
    for stage in STAGES:
        began = time.monotonic()
        _finish(_start(stage, calm, _stage_words(words)))
        took[stage] = time.monotonic() - began
    found.calm_s = sum(took.values())
    longest = max(took, key=lambda stage: took[stage])

    faulty = longest if chaos.joins or chaos.freezes else None
    killable = [stage for stage in STAGES if stage != faulty]

    began = time.monotonic()
    with _lossy(chaos, found) as environment:
        for stage in STAGES:
            if stage in killable:
                number = killable.index(stage)
                kills = chaos.kills // len(killable) + (number < chaos.kills % len(killable))
                moments = _moments(chaos, kills, took[stage])
                _killed(stage, rough, words, environment, moments, found)
            with _joining(rough, chaos if stage == faulty else None, found) as join_nodes:
                process = _start(stage, rough, _stage_words(words), environment)
                found.starts += 1
                try:
                    join_nodes(process)
                    if stage == faulty:
                        _freeze_workers(process, chaos, found)
                    _finish(process)
                finally:
                    process.kill()
    found.disturbed_s = time.monotonic() - began
    _compare(open_store(calm), open_store(rough), found)
    return found


@contextlib.contextmanager
def _lossy(chaos: Chaos, found: Survived) -> Iterator[dict[str, str]]:
    """The environment of commands working over a lossy network."""
    if not chaos.lost:
        yield {}
        return

    with losing_answers(chaos.lost, random.Random(chaos.rng.random())) as network:
        yield network.environment()
        found.answers, found.lost = network.answers, network.lost


def _moments(chaos: Chaos, count: int, took_s: float) -> list[float]:
    """Seconds until a stage of this length is killed, one for each start."""
    return [chaos.rng.uniform(0.1, 0.6) * took_s for _ in range(count)]


def _killed(
    stage: str,
    root: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    moments: Sequence[float],
    found: Survived,
) -> None:
    """Start one stage for each of the moments, and kill it then."""
    for moment in moments:
        process = _start(stage, root, _stage_words(words), environment)
        found.starts += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        if process.poll() is None:
            found.kills += 1
            process.kill()
        process.wait()
        # Orphans that end by themselves may hold the other end.
        if process.stderr is not None:
            process.stderr.close()


@contextlib.contextmanager
def _joining(
    root: str, chaos: Chaos | None, found: Survived
) -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """A function that lets nodes join during a command and fail at work.

    The nodes that are left end with the block. The cluster's own CPUs are reserved until the last
    node has failed: only nodes that joined can run the command's tasks.
    """
    if chaos is None or not chaos.joins:
        yield lambda process: None
        return

    # The module is imported only here: it is the home of a heavy library.
    from corpus.run.executors.ray import reserved_cluster

    with contextlib.ExitStack() as nodes, contextlib.ExitStack() as reservation:
        reservation.enter_context(reserved_cluster())

        def join(process: subprocess.Popen[bytes]) -> None:
            _wait_for_lease(open_store(root), process)
            for number in range(chaos.joins):
                node = JoinedNode()
                nodes.callback(node.close)
                node.await_task(process)
                found.joins += 1
                node.signal(signal.SIGSTOP if number % 2 else signal.SIGKILL)
            reservation.close()

        yield join


def _wait_for_lease(store: Store, process: subprocess.Popen[bytes]) -> None:
    """Wait until a stage is under way. Raises: FatalError if it does not begin."""
    deadline = time.monotonic() + LEASE_S
    while not store.exists(f"{work_dir(BATCH)}/lock.json"):
        if process.poll() is not None:
            _finish(process)
            raise FatalError(f"{_shown(process)} ended before a node joined")
        if time.monotonic() > deadline:
            process.kill()
            raise FatalError(f"{_shown(process)} did not begin within {duration(LEASE_S)}")
        time.sleep(LOOK_S)


def _freeze_workers(process: subprocess.Popen[bytes], chaos: Chaos, found: Survived) -> None:
    """Freeze as many workers as asked for. Raises: FatalError if the command has none."""
    for number in range(chaos.freezes):
        if not _freeze_a_worker(process, number):
            _finish(process)
            raise FatalError(
                f"{_shown(process)} ended before {chaos.freezes} workers were frozen; "
                "give more --documents, or fewer --freezes"
            )
        found.freezes += 1


def _freeze_a_worker(process: subprocess.Popen[bytes], number: int) -> bool:
    """Stop a process below the command, as a failing machine does; False if there was none."""
    deadline = time.monotonic() + LEASE_S
    while process.poll() is None and time.monotonic() < deadline:
        # The resource tracker of multiprocessing is a child as well, and no worker.
        workers = [pid for pid in children(process.pid) if b"spawn_main" in command_line(pid)]
        if len(workers) > number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[number], signal.SIGSTOP)
                return True
        time.sleep(LOOK_S)
    return False


def _stage_words(words: Sequence[str]) -> list[str]:
    return [*words, *(word for setting in SETTINGS for word in ("--set", setting))]


def _start(
    stage: str, root: str, words: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "webtext", stage, "--corpus", root, "--batch", BATCH]
    return subprocess.Popen(
        [*line, *_of_stage(stage, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


def _of_stage(stage: str, words: Sequence[str]) -> Iterator[str]:
    """The words without settings of other stages: these would cause warnings."""
    skip = False
    for word, following in zip(words, [*words[1:], ""], strict=False):
        other = word == "--set" and following.partition(".")[0] not in (stage, "run")
        if not (skip or other):
            yield word
        skip = other


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command. Raises: FatalError if it fails or hangs."""
    try:
        _, errors = process.communicate(timeout=HUNG_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise FatalError(f"{_shown(process)} did not end within {duration(HUNG_S)}") from error

    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or [""]
        raise FatalError(f"{_shown(process)} ended with {process.returncode}: {lines[-1]}")


def _shown(process: subprocess.Popen[bytes]) -> str:
    return " ".join(map(str, list(process.args)[2:8]))  # type: ignore[arg-type]


def _documents(count: int) -> Iterator[str]:
    """Generated texts. Each seventh repeats an earlier one."""
    for number in range(count):
        rng = random.Random(number - 3 if number % 7 == 6 else number)
        sentences = (
            " ".join(rng.choices(WORDS, k=rng.randint(6, 14))).capitalize() + "." for _ in range(30)
        )
        row = {
            "url": f"http://site{number % 9}.example/{number}",
            "text": " ".join(sentences),
            "date": "2000-01-02T03:04:05Z",
        }
        yield json.dumps(row) + "\n"


def _copy(source: Store, target: Store) -> None:
    for path, _ in source.files("", recursive=True):
        target.write_bytes(path, source.read_bytes(path))


def _compare(calm: Store, rough: Store, found: Survived) -> None:
    """Compare every file of every table."""
    for table in TABLES:
        expected, made = (_digests(store, table) for store in (calm, rough))
        found.files += len(expected)
        found.num_bytes += sum(num_bytes for _, num_bytes in expected.values())
        found.differing += sorted(
            path for path in expected.keys() | made.keys() if expected.get(path) != made.get(path)
        )


def _digests(store: Store, table: str) -> dict[str, tuple[str, int]]:
    return {
        path: (xxh3_128_hexdigest(store.read_bytes(path)), num_bytes)
        for path, num_bytes in store.files(f"{table}/{BATCH}", recursive=True)
        if path.endswith(".parquet")
    }


def render(found: Survived) -> str:
    """The result for people."""
    lines = [
        f"survived {found.kills} kills and {found.freezes} frozen workers in {found.starts} starts",
        *([f"nodes that joined at work and failed: {found.joins}"] if found.joins else []),
        *([f"answers lost: {found.lost:,} of {found.answers:,}"] if found.answers else []),
        f"undisturbed {duration(found.calm_s)}, disturbed {duration(found.disturbed_s)}",
        f"{found.files:,} files, {found.num_bytes:,} bytes compared: "
        + (f"{len(found.differing)} differ" if found.differing else "all the same"),
    ]
    return "\n".join([*lines, *(f"  differs: {path}" for path in found.differing)])


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.soak", __doc__ or "")
    parser.add_argument(
        "--executor",
        choices=("serial", "pool", "ray"),
        default="pool",
        help="where tasks run (default: pool)",
    )
    parser.add_argument("--workers", type=command.positive, metavar="N", help="tasks at one time")
    parser.add_argument(
        "--documents", type=command.positive, default=400, metavar="N", help="made documents"
    )

    parser.add_argument("--kills", type=int, default=6, metavar="N", help="kills (default: 6)")
    parser.add_argument(
        "--freezes", type=int, metavar="N", help="workers to freeze (default: 1 with a pool)"
    )
    parser.add_argument(
        "--lost",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="share of an object store's answers to lose (default: 0.02)",
    )
    parser.add_argument(
        "--joins",
        type=int,
        default=0,
        metavar="N",
        help="nodes that join the idle Ray cluster of RAY_ADDRESS and fail at work (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--keep", action="store_true", help="leave both corpora")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
