"""Start and end of every command: logging, errors, signals, the lease and executor of a batch.

A command's `main(argv)` returns its exit code: 0 done, 1 some parts failed, 2 bad usage, config or
input, 130 or 143 interrupted with the state kept. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import ValidationError

from corpus.config import CORPUS_SETTINGS, STAGES, Section, ineffective, load_config, set_keys
from corpus.credentials import BlottingFormatter, blotted, print_blotted_traceback
from corpus.errors import ConfigError, InputError, Interrupted, WebtextError
from corpus.printable import printable
from corpus.run import funnel, metrics, progress, screen
from corpus.run.arguments import Main, program
from corpus.run.arguments import add_run_options as add_run_options
from corpus.run.arguments import bare_parser as bare_parser
from corpus.run.arguments import corpus_parser as corpus_parser
from corpus.run.arguments import parser as parser
from corpus.run.arguments import positive as positive
from corpus.run.arrow import leave_pandas_out
from corpus.run.early_interrupt import raise_again
from corpus.run.executors import choose, open_executor
from corpus.run.executors.interface import Executor
from corpus.run.first_use import note_first_use
from corpus.run.plan import Run
from corpus.run.runner import StageResult, run_steps
from corpus.run.settings import RunConfig
from corpus.run.step import AnyStep
from corpus.run.stragglers import Limits
from corpus.storage.lease import hold, refuse_held
from corpus.storage.store import Store, check_name, open_corpus, open_store, work_dir
from corpus.tables.manifest import earlier_batches, find_manifest, read_manifest
from corpus.tables.mixed_settings import mixed_settings
from corpus.tables.schemas import DOCUMENTS

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Section)

# Documents of a batch that one process works off before others have loaded their libraries, which
# takes them a second or two: dedup needs .2 ms a document and shards .05 (docs/scale.md).
FEW_DOCUMENTS = 4_000


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to stderr as it is now: a live screen puts itself before it, so that lines are above."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def run_command(body: Main, argv: Sequence[str] | None, *, stage: str) -> int:
    """Run a command's body and turn its errors into one line and an exit code."""
    handler = _StderrHandler()
    handler.setFormatter(BlottingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)

    words = sys.argv[1:] if argv is None else argv
    verbose = bool({"-v", "--verbose"} & set(words))
    for name in (progress.__name__, *STAGES):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    command = blotted(f"{program(stage)} {shlex.join(words)}")

    leave_pandas_out()
    raise_again()
    sys.excepthook = print_blotted_traceback
    try:
        return body(argv)
    except (Interrupted, KeyboardInterrupt) as error:
        if not isinstance(error, Interrupted):
            error = Interrupted(signal.SIGINT)
        print(f"{error}; finished work is kept. To continue: {command}", file=sys.stderr)
        return error.exit_code
    except WebtextError as error:
        print(f"error: {printable(blotted(str(error)))}", file=sys.stderr)
        return error.exit_code
    except ValidationError as error:
        # A file of the corpus: settings are checked where they are read.
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        line = f"{error.title}: {field}: {problem['msg']}; a file of the corpus is not as this version writes it"
        print(f"error: {printable(line)}: run webtext verify", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FileNotFoundError:
        raise  # One of our own files is missing: a defect, which needs its traceback.
    except OSError as error:
        # A store that stays unreachable, a full or failing disk.
        line = f"error: {error}; finished work is kept. To continue: {command}"
        print(blotted(line.replace("\n", " ")), file=sys.stderr)
        return 1


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """An opened corpus, a locked batch and a running executor."""

    store: Store
    batch: str
    executor: Executor
    limits: Limits = field(default_factory=Limits)


@contextlib.contextmanager
def open_batch(
    args: argparse.Namespace,
    what: str,
    *,
    create: bool = False,
    timeout_s: float | None = None,
    is_small: Callable[[Store, str], bool] | None = None,
) -> Iterator[OpenBatch]:
    """Open the corpus, start the executor and lock the batch; signals raise `Interrupted`.

    A batch for which `is_small` is true runs in this process, unless the user names workers or an
    executor.

    Raises: InputError for an invalid corpus or batch name, BusyError if another run holds the batch.
    """
    batch = check_name("--batch", args.batch)
    settings = _run_config(args)
    place = open_store(args.corpus)
    is_new = create and not place.exists("corpus.json")
    folder = place.local_path("corpus.json") if is_new else None
    made = folder.parent if folder is not None and not folder.parent.exists() else None
    store = open_corpus(args.corpus, create=create)
    path, wait_s = f"{work_dir(batch)}/lock.json", getattr(args, "wait", 0.0)

    with contextlib.ExitStack() as stack:
        if is_new:
            stack.enter_context(_forgotten_if_refused(store, made))
        stack.enter_context(interruptible())
        # A cluster that does not answer must not hold up others: the lease comes after it.
        if not wait_s:
            refuse_held(store, path)
        workers = args.workers
        is_free = workers is None and args.executor == "auto" and choose("auto", 2) == "pool"
        if is_free and is_small is not None and is_small(store, batch):
            workers = 1
        executor = stack.enter_context(open_executor(args.executor, workers, timeout_s=timeout_s))
        # ray.init() has installed handlers of its own.
        stack.enter_context(interruptible())
        stack.enter_context(hold(store, path, what=what, wait_s=wait_s))
        stack.enter_context(screen.stage(what.removesuffix(".run")))
        stack.enter_context(_closed_first(executor))
        stack.enter_context(
            metrics.published(settings.metrics_file, settings.metrics_port, stage=what, batch=batch)
        )

        begun = set(store.folders(work_dir(batch)))
        try:
            yield OpenBatch(store, batch, executor, settings.limits())
        except InputError:
            _forget_refused(store, batch, begun)
            raise


def has_few_documents(store: Store, batch: str) -> bool:
    """True if a batch is done before further processes have started."""
    documents = find_manifest(store, DOCUMENTS.name, batch)
    return documents is not None and documents.rows <= FEW_DOCUMENTS


@contextlib.contextmanager
def _closed_first(executor: Executor) -> Iterator[None]:
    """End all tasks before the lease is given back, which was taken after the executor started."""
    try:
        yield
    except BaseException:
        executor.close(cancel=True)
        raise
    executor.close()


def _forget_refused(store: Store, batch: str, begun: Set[str]) -> None:
    """Delete what a run left that was refused before it finished any task.

    Receipts of finished tasks stay: with one more option the next run continues from them.
    """
    for name in set(store.folders(work_dir(batch))) - begun:
        folder = f"{work_dir(batch)}/{name}"
        if not any(path.endswith(".json") for path, _ in store.files(folder, recursive=True)):
            store.delete_dir(folder)


@contextlib.contextmanager
def _forgotten_if_refused(store: Store, made: Path | None) -> Iterator[None]:
    """Delete a new corpus again if its first input is refused before anything is made of it.

    `made` is its folder, if that is new as well.
    """
    try:
        yield
    except InputError:
        left = {path for path, _ in store.files("", recursive=True)}
        if left == {"corpus.json"}:
            store.delete("corpus.json")
            store.delete_dir("work")
            if made is not None:
                # Another command may have put something there meanwhile.
                with contextlib.suppress(OSError):
                    made.rmdir()
        raise


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise `Interrupted` in the main thread; a second signal is ignored."""

    def stop(number: int, frame: Any) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    try:
        previous = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        # Not the main thread (a test, a notebook): the host program owns its signals.
        yield
        return

    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def config(model: type[S], stage: str, args: argparse.Namespace) -> S:
    """The command's settings from the corpus, a file, the environment and --set.

    Settings without effect are reported.
    """
    found = load_config(
        model,
        stage,
        corpus_toml=corpus_settings(args.corpus),
        toml_path=args.config,
        sets=args.sets,
        environ=os.environ,
    )
    for line in ineffective(found, stage):
        log.warning("%s", line)
    others = [key for key in set_keys(args.sets) if key.partition(".")[0] not in (stage, "run")]
    if others:
        log.warning(
            "without effect here: --set %s; %s reads [%s] only", ", ".join(others), stage, stage
        )
    return found


def _run_config(args: argparse.Namespace) -> RunConfig:
    """The settings of how tasks run, which every stage's command reads."""
    return load_config(
        RunConfig,
        "run",
        corpus_toml=corpus_settings(args.corpus),
        toml_path=getattr(args, "config", None),
        sets=getattr(args, "sets", ()),
        environ=os.environ,
    )


def refuse_settings(args: argparse.Namespace, option: str) -> None:
    """Refuse --set beside an option that reads no settings. Raises: ConfigError."""
    if args.sets:
        raise ConfigError(f"--set {args.sets[0]} has no effect with {option}: leave it out")


def warn_of_unread(
    args: argparse.Namespace, stage: str, sections: Collection[str], reason: str
) -> None:
    """Warn of each --set of a section of this stage that this use of the command does not read."""
    for key in set_keys(args.sets):
        top, _, rest = key.partition(".")
        if top == stage and rest.partition(".")[0] not in sections:
            log.warning("--set %s has no effect: %s", key, reason)


def corpus_settings(root: str | None) -> str | None:
    """The text of `<corpus>/webtext.toml`; None without a corpus or without that file."""
    if root is None:
        return None
    try:
        return open_store(root).read_bytes(CORPUS_SETTINGS).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{root}/{CORPUS_SETTINGS}: not TOML ({error})") from error


def finish(
    args: argparse.Namespace, store: Store, stage: str, result: StageResult, *, left: str = ""
) -> int:
    """Print the funnel and, with --json, the counts as the last line.

    `left` says what of the stage was not asked for.
    """
    # Tables of earlier stages may be stale: `webtext status` has all.
    print(funnel.render(store, args.batch, stage=stage))
    if left:
        # A stage of which something is left to do is not up to date.
        print(left)
    elif result.up_to_date:
        print(f"{stage}: up to date")

    if args.json:
        summary = {
            "stage": stage,
            "corpus": args.corpus,
            "batch": args.batch,
            "up_to_date": result.up_to_date,
            "counts": result.counts,
        }
        print(json.dumps(summary, sort_keys=True))
    return 0


def run_stage_command(
    stage: str,
    model: type[Section],
    steps: Sequence[AnyStep],
    argv: Sequence[str] | None,
    description: str,
) -> int:
    """Run the whole command of a stage that consists only of steps over a batch's tables."""

    def body(arguments: Sequence[str] | None) -> int:
        args = parser(f"{stage}.run", description, model, stage).parse_args(arguments)
        settings = config(model, stage, args)

        with open_batch(args, f"{stage}.run") as opened:
            result = run_stage(opened, stage, settings, steps, rebuild=args.rebuild)
            return finish(args, opened.store, stage, result)

    return run_command(body, argv, stage=f"{stage}.run")


def run_stage(
    opened: OpenBatch,
    stage: str,
    settings: Section,
    steps: Sequence[AnyStep],
    *,
    rebuild: bool,
    files: tuple[str, ...] = (),
    num_parts: int | None = None,
) -> StageResult:
    """Run the steps on an opened batch, with as many parts as its links unless `num_parts` is given."""
    if num_parts is None:
        num_parts = read_manifest(opened.store, "links", opened.batch).num_parts

    note_first_use(stage)
    run = Run(
        stage=stage,
        config=settings,
        store=opened.store,
        batch=opened.batch,
        executor=opened.executor,
        num_parts=num_parts,
        files=files,
        rebuild=rebuild,
        limits=opened.limits,
    )
    result = run_steps(run, steps)
    _warn_of_mixed(opened, stage)
    return result


def _warn_of_mixed(opened: OpenBatch, stage: str) -> None:
    """Warn if the batch was built with other settings than those before it."""
    batches = [*earlier_batches(opened.store, opened.batch), opened.batch]
    mixed = [line for line in mixed_settings(opened.store, batches) if line.startswith(f"{stage}.")]
    if mixed:
        log.warning(
            "the batches of this corpus differ: %s. Settings are kept for all batches by "
            "`webtext init --corpus %s --set %s=...`",
            "; ".join(mixed),
            opened.store.root,
            mixed[0].partition(" is ")[0],
        )
