"""`webtext demo`: all stages on this machine, offline, in minutes.

Builds a small web out of the documentation of the installed packages, serves it on loopback, writes
a Reddit dump with links to it, and runs the ordinary commands, printed as they run. At the end
every planted case is checked against the tables; the exit code is 1 if one was handled wrongly.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from corpus.errors import FatalError, InputError, Interrupted
from corpus.run import command as cli
from corpus.run import funnel
from corpus.run.progress import duration
from corpus.storage.store import Store, open_store
from examples.demo import archive, checks, dump, schemas, web
from examples.demo.server import DemoServer

log = logging.getLogger(__name__)

MARKER = ".webtext-demo"
BATCH, RUN = "demo", "tiny"
SAMPLE_CHARACTERS = 600
# A model whose runs take seconds.
ABLATION_SHAPE = (
    "train.model.n_layer=2",
    "train.model.n_head=2",
    "train.model.n_embd=64",
    "train.model.block_size=128",
    "train.batch_size=8",
    # Threads of so small a model wait for each other.
    "train.runtime.num_threads=1",
)
MIN_ABLATION_TOKENS = 8_000
FEW_PAGES = 200
# Training steps of the smallest demo, enough for a clear fall of the loss.
MIN_STEPS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return cli.run_command(_main, argv, stage="webtext.demo")


def _main(argv: Sequence[str] | None) -> int:
    parser = cli.bare_parser("webtext.demo", __doc__ or "")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("demo"),
        help="where everything goes; a demo that lies there is replaced (default: ./demo)",
    )
    parser.add_argument(
        "--pages",
        type=cli.positive,
        default=web.NUM_PAGES,
        help="ordinary pages to serve (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything planted (default: %(default)s)"
    )
    parser.add_argument("--without-training", action="store_true", help="stop after the shards")
    args = parser.parse_args(argv)
    started = time.monotonic()
    folder = _clear(args.folder)
    print(f"Building a web of {args.pages:,} pages out of the installed documentation", flush=True)
    demo = web.build(args.pages, args.seed)
    print(
        f"  {len(demo.hosts)} hosts, {demo.num_pages:,} pages, {demo.text_bytes / 1e6:.1f} MB of text "
        f"({duration(time.monotonic() - started)})",
        flush=True,
    )
    dump_path = folder / "RS_demo.zst"
    expected = dump.write_dump(demo, dump_path)
    testset = demo.write_testset(folder / "testsets")
    winograd = schemas.write_schemas(folder / "tasks")

    with cli.interruptible(), DemoServer(demo.answers) as server:
        config = write_config(folder, server.port, testset, args.pages)
        for command in _commands(
            folder,
            dump_path,
            config,
            testset,
            None if args.without_training else winograd,
            args.pages,
        ):
            _run(command)
        requests = list(server.log)

    store = open_store(str(folder / "corpus"))
    print(f"\n{funnel.render(store, BATCH)}")
    if not args.without_training:
        _print_training(store)
    result = checks.check(store, BATCH, demo, expected, requests)
    print(f"\nPlanted cases\n{result.table()}")
    for failure in result.failures:
        print(f"  wrong: {failure}", file=sys.stderr)
    print(f"\nreport: {store.root}/reports/report.html")
    outcome = "every planted case was handled rightly"
    if result.failures:
        outcome = f"{len(result.failures)} cases were handled wrongly"
    print(f"demo: {outcome}, in {duration(time.monotonic() - started)}")

    return 1 if result.failures else 0


def _clear(folder: Path) -> Path:
    """Empty the demo's folder. Raises InputError if it holds something other than a demo."""
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise InputError(f"--folder {folder}: not empty and no earlier demo; name another folder")

    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        (folder / MARKER).touch()
    except OSError as error:
        raise InputError(
            f"--folder {folder}: cannot be made ({error.strerror}); name another folder"
        ) from error

    return folder


def write_config(folder: Path, port: int, testset: Path, num_pages: int) -> Path:
    """Write the recipe `tiny` with settings by which `.test` names reach the loopback server."""
    preset = resources.files("webtext").joinpath("recipes/tiny.toml").read_text("utf-8")
    ours = f"""
# added by the demo
[crawl.fetch.connect_to]
"*.test" = "127.0.0.1:{port}"

{archive.settings(port)}
[dedup]
testsets = [{json.dumps(str(testset))}]
"""
    fetch = """[crawl.fetch]
allow_networks = ["127.0.0.0/8"]   # the guard refuses loopback unless told otherwise
delay_s = 0.0                      # our own server: no need to be polite to it
latency_factor = 0.0
retry_delay_s = 0.2
archive = "fallback"               # dead links are looked up in the demo's own archive
"""
    # A web of a few pages needs a larger share to have a validation document at all.
    val_frac = f"val_frac = {min(0.1, max(0.01, 30 / num_pages)):.3g}\n"
    preset = preset.replace("val_frac = 0.01\n", val_frac)
    max_steps = _scaled(350, MIN_STEPS, num_pages)
    preset = preset.replace("max_steps = 350 ", f"max_steps = {max_steps} ")
    # An interval beyond the last step would leave out the evaluation before the first.
    preset = preset.replace("eval_interval = 50", f"eval_interval = {min(50, max_steps)}")
    path = folder / "demo.toml"
    path.write_text(preset.replace("[crawl.fetch]\n", fetch) + ours, encoding="utf-8")

    return path


def _scaled(full: int, least: int, num_pages: int) -> int:
    """A size of the whole demo, scaled down for one of fewer pages."""
    return max(least, min(full, full * num_pages // web.NUM_PAGES))


def _commands(
    folder: Path,
    dump_path: Path,
    config: Path,
    testset: Path,
    winograd: Path | None,
    num_pages: int,
) -> list[list[str]]:
    """Every command once. `winograd` is the file of schemas to score; None leaves training out."""
    corpus = ["--corpus", str(folder / "corpus")]
    batch = [*corpus, "--batch", BATCH, "--config", str(config)]
    commands = [
        ["crawl", *batch, "--dumps", str(dump_path)],
        ["clean", *batch],
        ["dedup", *batch],
        ["shards", *batch, "--snapshot", BATCH],
    ]

    if winograd is not None:
        scored = ["--task", f"wsc273={winograd}", "--allow-altered"]
        commands += [
            ["train", *corpus, "--snapshot", BATCH, "--run", RUN, "--config", str(config)],
            ["evaluate", *corpus, "--run", RUN, *scored],
            _ablation(folder, testset, num_pages),
        ]

    shown = [] if winograd is None else ["--ablation", str(folder / "ablation")]
    return [*commands, ["report", *corpus, *shown]]


def _ablation(folder: Path, testset: Path, num_pages: int) -> list[str]:
    """Two presets of quality rules compared by models of a few seconds each."""
    sets = (f"dedup.testsets={json.dumps([str(testset)])}", *ABLATION_SHAPE)
    tokens = _scaled(60_000, MIN_ABLATION_TOKENS, num_pages)
    # One process builds an arm of few pages before others have started.
    workers = ("--workers", "1") if num_pages < FEW_PAGES else ()
    return [
        *("ablate", "--corpus", str(folder / "corpus"), "--to", str(folder / "ablation")),
        *("--vary", "clean.quality.preset=webtext,c4"),
        *("--seeds", "2", "--tokens", str(tokens), "--shape", "tiny"),
        *("--held-out-bytes", "20000", *workers),
        *(word for each in sets for word in ("--set", each)),
    ]


def _run(command: list[str]) -> None:
    """Run one command as a person would, with its output on ours.

    Raises: FatalError if it fails, Interrupted if asked to stop (once the command has ended).
    """
    print(f"\n$ webtext {shlex.join(command)}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "webtext", *command], env=os.environ)

    try:
        code = process.wait()
    except Interrupted:
        # The terminal may have sent it a SIGINT already: a second one is ignored.
        process.send_signal(signal.SIGINT)
        process.wait()
        raise

    if code != 0:
        raise FatalError(f"webtext {command[0]} ended with exit code {code}; its message is above")

    print(f"  ({duration(time.monotonic() - started)})", flush=True)


def _print_training(store: Store) -> None:
    """By how much the validation loss fell, and a text sample."""
    lines = [
        json.loads(line)
        for line in store.read_bytes(f"runs/{RUN}/metrics.jsonl").decode().splitlines()
    ]
    losses = [float(line["val_loss"]) for line in lines if "val_loss" in line]
    print(f"\nValidation loss fell from {losses[0]:.3f} to {losses[-1]:.3f} nats per token")
    if losses[-1] > losses[0] - 1.0:
        raise FatalError(
            f"the validation loss fell by only {losses[0] - losses[-1]:.3f}; expected at least 1.0"
        )

    samples = store.files(f"runs/{RUN}/samples")
    text = store.read_bytes(samples[-1][0]).decode(errors="replace")
    print(f"A sample:\n\n{text.strip()[:SAMPLE_CHARACTERS]}\n")


if __name__ == "__main__":
    raise SystemExit(main())
