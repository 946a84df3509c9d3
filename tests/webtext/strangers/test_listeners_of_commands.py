"""Every command on a small corpus, with the ports that it opens while it runs and leaves behind."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from examples.demo import dump, web
from examples.demo.__main__ import _ablation, write_config
from examples.demo.server import DemoServer
from tests.corpus.run.listeners import Address, is_loopback, listeners_of, marked
from tests.webtext.strangers.test_listeners_and_names import PROBED, REPOSITORY
from webtext.commands import GROUPS

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net")

MARK = "WEBTEXT_TEST_LISTENERS"
# Seconds between two looks at the ports. Shorter-lived ones of Python are found by the audit hook.
LOOK_S = 0.1
NUM_PAGES = 60

AUDIT = """
import os, socket, sys

def hook(event, args):
    if event == "socket.bind" and args[0].family != socket.AF_UNIX:
        if args[0].type & socket.SOCK_STREAM:
            with open(os.environ["WEBTEXT_TEST_BOUND"], "a") as stream:
                stream.write(f"{args[1][0] or '0.0.0.0'}\\n")

sys.addaudithook(hook)
"""
"""Run at the start of every Python process: each address that a TCP socket is bound to."""


@dataclass
class Seen:
    """One command's end and ports."""

    code: int
    output: str
    listening: dict[tuple[Address, int], str] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    left: dict[tuple[Address, int], str] = field(default_factory=dict)

    @property
    def beyond_loopback(self) -> dict[str, str]:
        """Addresses that other machines may reach, with the command that listens."""
        found = {
            str(address): command
            for (address, _), command in self.listening.items()
            if not is_loopback(address)
        }
        bound = (ipaddress.ip_address(each) for each in self.bound)
        return found | {str(each): "a socket of Python" for each in bound if not is_loopback(each)}


class Watcher:
    """Runs commands, and looks at the ports of all processes that they start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "sitecustomize.py").write_text(AUDIT)

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        ready: Callable[[Seen], bool] | None = None,
    ) -> Seen:
        """Run Python to its end, or until `ready`, when it is sent a SIGINT."""
        mark = secrets.token_hex(16)
        bound = self._folder / f"bound-{mark}"
        bound.touch()
        environment = {
            **os.environ,
            **environment,
            MARK: mark,
            "WEBTEXT_TEST_BOUND": str(bound),
            "PYTHONPATH": str(self._folder),
        }
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=REPOSITORY,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            seen = Seen(0, "")
            while process.poll() is None:
                seen.listening |= listeners_of(marked(MARK, mark))
                if ready is not None and ready(seen):
                    process.send_signal(signal.SIGINT)
                    ready = None
                time.sleep(LOOK_S)

            seen.left = listeners_of(marked(MARK, mark))
            seen.code = process.returncode
            output.seek(0)
            seen.output = output.read().decode(errors="replace")
        seen.bound = set(bound.read_text().split())
        return seen


@dataclass(frozen=True)
class Case:
    """A command line, and the reason if its processes listen at all."""

    words: Sequence[str]
    listens: str = ""
    """Why a port is open. Empty: none is."""
    public: str = ""
    """Why a port beyond loopback is open: the user asked for it."""
    ready: Callable[[Seen], bool] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The command."""
        return self.words[0]


def _two_ports(seen: Seen) -> bool:
    return len(seen.listening) == 2


RAY = "a private Ray, whose processes talk by TCP"
SMALL = {
    "WEBTEXT_CRAWL__FETCH__SHARDS": "1",
    "WEBTEXT_SHARDS__TOKENIZER__VOCAB_SIZE": "1024",
    "WEBTEXT_TRAIN__MAX_STEPS": "2",
    "WEBTEXT_TRAIN__EVAL_INTERVAL": "2",
    "WEBTEXT_TRAIN__MODEL__N_HEAD": "2",
    "WEBTEXT_TRAIN__MODEL__N_EMBD": "32",
    "WEBTEXT_TRAIN__MODEL__N_LAYER": "1",
    "WEBTEXT_TRAIN__MODEL__BLOCK_SIZE": "64",
    "WEBTEXT_TRAIN__BATCH_SIZE": "4",
}


def cases(folder: Path, config: Path, testset: Path) -> dict[str, Case]:
    """Every command of the index in an order in which each finds what it needs."""
    corpus = ["--corpus", str(folder / "corpus")]
    other = ["--corpus", str(folder / "other")]
    settings = ["--config", str(config)]
    batch = [*corpus, "--batch", "a", *settings]
    ray = ["--executor", "ray", "--workers", "1"]
    run = [*corpus, "--run", "r"]
    texts = folder / "texts.jsonl"
    documents = [
        {"text": " ".join(f"Word {n} of text {i}." for n in range(60))} for i in range(120)
    ]
    texts.write_text("".join(json.dumps(each) + "\n" for each in documents))
    labelled = folder / "labelled.jsonl"
    labels = [{**each, "label": i % 2} for i, each in enumerate(documents)]
    labelled.write_text("".join(json.dumps(each) + "\n" for each in labels))
    dumps = str(folder / "RS_2017-12.zst")
    refreshed = f'refresh.corpus="{folder / "other"}"', f'refresh.dumps="{folder}/RS_*.zst"'
    refresh = [*settings, *(word for each in refreshed for word in ("--set", each))]

    return {
        "init": Case(["init", "tiny", "--to", str(folder / "made.toml")]),
        "crawl": Case(["crawl", *batch, "--dumps", dumps]),
        "clean": Case(["clean", *batch]),
        "clean on Ray": Case(["clean", *batch, "--rebuild", *ray], listens=RAY),
        "dedup": Case(["dedup", *batch]),
        "tokenizer": Case(["tokenizer", "train", *corpus, "--batches", "a", *settings]),
        "shards": Case(["shards", *batch, "--snapshot", "a"]),
        "refresh": Case(["refresh", *refresh]),
        "import": Case(["import", *other, "--batch", "i", "--jsonl", str(texts), "--text-column", "text"]),
        "status": Case(["status", *corpus]),
        "explain": Case(["explain", *corpus, "http://nowhere.test/"]),
        "why": Case(["why", *corpus, "--batch", "a"]),
        "overlap-test": Case(["overlap-test", *batch, "--set", f'dedup.testsets=["{testset}"]']),
        "query": Case(["query", *corpus, "SELECT count(*) FROM documents"]),
        "diff": Case(["diff", *corpus, "a", "a"]),
        "verify": Case(["verify", *corpus]),
        "history": Case(["history", *corpus]),
        "look": Case(["look", *corpus, "--port", "0"], listens="the window and its frames", ready=_two_ports),
        "look for others": Case(
            ["look", *corpus, "--port", "0", "--host", "0.0.0.0"],
            listens="the window and its frames",
            public="--host with a token",
            ready=_two_ports,
            environment={"WEBTEXT_LOOK_TOKEN": "x" * 16},
        ),
        "report": Case(["report", *corpus]),
        "publish": Case(["publish", *corpus, "--snapshot", "a", "--to", str(folder / "published"), "--contact", "a@b.test"]),
        "captures": Case(["captures", *corpus, "--batch", "a", "--to", str(folder / "a.wacz")]),
        "revive": Case(["revive", *batch]),
        "rights": Case(["rights", "check", *corpus, *settings, "--batch", "a", "--pages"]),
        "rights report": Case(["rights", "report", *corpus]),
        "rebuild": Case(["rebuild", *corpus, "--from", "dedup", "--batch", "a", *settings]),
        "train": Case(["train", *corpus, "--snapshot", "a", "--run", "r", *settings]),
        "train on Ray": Case(
            ["train", *corpus, "--snapshot", "a", "--run", "ray", *settings, "--ray-workers", "2"],
            listens=RAY,
        ),
        "evaluate": Case(["evaluate", *run]),
        "generate": Case(["generate", *run, "--num-tokens", "4"]),
        "export": Case(["export", *run, "--to", "hf", "--folder", str(folder / "hf")]),
        "fit-quality": Case(["fit-quality", *corpus, "--name", "q", "--labelled", str(labelled)]),
        "ablate": Case(_ablation(folder, testset, NUM_PAGES)),
        "forget": Case(["forget", *corpus, "--domain", "nowhere.test", "--in-advance", "--why", "a test", "--yes"]),
        "prune": Case(["prune", *corpus]),
        "drop-batch": Case(["drop-batch", *other, "--batch", "i", "--yes"]),
        "doctor": Case(["doctor", *corpus]),
        "soak": Case(["soak", "--corpus", str(folder / "soak"), "--documents", "60", "--kills", "1"]),
        "soak on Ray": Case(
            ["soak", "--corpus", str(folder / "soak"), "--documents", "60", "--kills", "1", "--executor", "ray", "--workers", "1"],
            listens=RAY,
        ),
        "demo": Case(["demo", "--folder", str(folder / "demo"), "--pages", "20", "--without-training"], listens="the web that it crawls"),
        "completion": Case(["completion", "bash"]),
    }  # fmt: skip


def test_every_command_is_watched(tmp_path: Path) -> None:
    table = cases(tmp_path, tmp_path / "x.toml", tmp_path)
    names = {name for group in GROUPS.values() for name in group} | {"completion"}
    assert {case.name for case in table.values()} == names
    assert [key for key, case in table.items() if case.public] == ["look for others"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_commands_listen_on_loopback_and_leave_no_port_behind(tmp_path: Path) -> None:
    """All stages, their executors and all looks, each in processes of its own."""
    made = web.build(NUM_PAGES, seed=3)
    (tmp_path / "hooks").mkdir()
    watcher = Watcher(tmp_path / "hooks")
    found: dict[str, Seen] = {}
    with DemoServer(made.answers) as server:
        testset = made.write_testset(tmp_path / "testsets")
        config = write_config(tmp_path, server.port, testset, NUM_PAGES)
        dump.write_dump(made, tmp_path / "RS_2017-12.zst")
        table = cases(tmp_path, config, testset)
        for name, case in table.items():
            found[name] = watcher.run(
                ["-m", "webtext", *case.words], {**SMALL, **case.environment}, case.ready
            )
            assert found[name].code in (0, 130), (name, found[name].output[-2000:])

    assert {name: seen.left for name, seen in found.items() if seen.left} == {}
    open_to_others = {name: seen.beyond_loopback for name, seen in found.items()}
    assert {name for name, each in open_to_others.items() if each} == {
        name for name, case in table.items() if case.public
    }, open_to_others
    listening = {name for name, seen in found.items() if seen.listening or seen.bound - PROBED}
    assert listening == {name for name, case in table.items() if case.listens}


def test_a_port_beyond_loopback_is_seen(tmp_path: Path) -> None:
    """By both ways: the sockets that Python binds, and the system's tables."""
    program = "import socket, time; opened = socket.create_server(('', 0)); time.sleep(600)"
    seen = Watcher(tmp_path).run(["-c", program], {}, lambda seen: bool(seen.listening))
    any_address = ipaddress.ip_address("0.0.0.0")
    assert [address for address, _ in seen.listening] == [any_address]
    assert seen.bound == {str(any_address)}
    assert seen.beyond_loopback.keys() == {str(any_address)}
    assert seen.left == {}
