"""Ports that commands open, names that would be paths, and what other users of a machine can see."""

from __future__ import annotations

import ast
import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shards.tokenizer.encode import load_tokenizer
from tests.corpus.run.listeners import listeners
from tests.support import fuzz_targets, grown_corpus
from tests.support.hostile_corpus import plant_canary, tree
from tests.webtext.strangers.test_hostile_files import ends_in_a_line
from train import evaluate, export, generate
from webtext import cli
from webtext.look import command as look
from webtext.publish import command as publish

REPOSITORY = Path(__file__).parents[3]
PACKAGES = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train")
LISTENERS = {
    (
        "corpus/run/metrics.py",
        "ThreadingHTTPServer",
    ): "run.metrics_port on 127.0.0.1, off by default",
    (
        "webtext/look/command.py",
        "socket.create_server",
    ): "127.0.0.1; another address asks for --token",
    (
        "webtext/soak_network.py",
        "socket.create_server",
    ): "127.0.0.1, during webtext soak --lost: the way to the user's own store",
    (
        "webtext/soak_nodes.py",
        "probe.bind",
    ): "127.0.0.1, closed at once: finds a free port for webtext soak --joins",
    (
        "train/machine/ray_launcher.py",
        "socket.create_server",
    ): "127.0.0.1: the socket of the store of Ray Train's workers on one machine",
    (
        "train/machine/ray_launcher.py",
        "TCPStore",
    ): "the same, which takes that socket",
}
"""Everything of ours that accepts connections. Ray and torch open ports of their own
(docs/security.md), which `test_listeners_of_commands.py` looks at while commands run."""
OPENING = {"bind", "create_server", "start_server", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "TCPStore"}  # fmt: skip
# urllib3 binds ::1 when it is loaded, to see if this machine has IPv6, and closes it at once.
PROBED = {"::1"}
NAMES = (
    "../victim",
    "/etc",
    "a/b",
    "a\\b",
    "..",
    "CON",
    "\u00b2",
    "nul.txt",
    "x\n",
    "x\x00",
    "\u0430",
    "-",
    "",
)


def test_the_listeners_of_all_commands() -> None:
    found = set()
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called.rpartition(".")[2] in OPENING:
                        found.add((path.relative_to(REPOSITORY).as_posix(), called))
    assert found == LISTENERS.keys()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net")
def test_quick_commands_open_no_port(
    fates_copy: grown_corpus.Fates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that start no process, in this one: each address that a TCP socket is bound to."""
    bound: list[str] = []

    class Recorded(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family != socket.AF_UNIX and self.type & socket.SOCK_STREAM:
                bound.append(address[0])
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Recorded)
    before = listeners(os.getpid())
    corpus = ["--corpus", fates_copy.root]
    batch = [*corpus, "--batch", "2024-02"]
    settings = [word for each in grown_corpus.SETTINGS for word in ("--set", each)]
    for words in (
        ["init", "tiny", "--to", str(tmp_path / "made.toml")],
        ["status", *corpus],
        ["explain", *corpus, fates_copy.moved],
        ["why", *batch],
        ["query", *corpus, "SELECT count(*) FROM documents"],
        ["diff", *corpus, "2024-01", "2024-02"],
        ["verify", *corpus],
        ["history", *corpus],
        ["report", *corpus],
        ["captures", *batch, "--to", str(tmp_path / "a.wacz")],
        ["rights", "report", *corpus],
        ["rebuild", *batch, "--from", "dedup", "--dry-run", *settings],
        ["forget", *corpus, "--domain", "gone.test", "--why", "a test", "--yes"],
        ["prune", *corpus],
        ["completion", "bash"],
    ):
        assert cli.main(words) == 0, words

    assert set(bound) <= PROBED
    assert listeners(os.getpid()).keys() <= before.keys()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_the_window_opens_itself_to_others_with_a_token_only(
    fates: grown_corpus.Fates, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from the environment as well, since a command line can be read by all users."""

    def listen(*_: object) -> None:
        raise AssertionError("it listens")

    monkeypatch.setattr(look, "_listen", listen)
    asked = ["--corpus", fates.root, "--host", host]
    for token in ((), ("--token", "short")):
        code, output = ends_in_a_line(lambda token=token: look.main([*asked, *token]))  # type: ignore[misc]
        assert code == 2
        assert "WEBTEXT_LOOK_TOKEN" in output
    monkeypatch.setenv("WEBTEXT_LOOK_TOKEN", "x" * 16)
    with pytest.raises(AssertionError, match="it listens"):
        look.main(asked)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_runs_checkpoints_and_snapshots_are_not_paths(
    fates_copy: grown_corpus.Fates, name: str
) -> None:
    root = Path(fates_copy.root)
    outside = plant_canary(root)
    before = tree(outside)
    corpus = ["--corpus", str(root)]
    fuzz_targets.prepare(root)
    config = root / "runs/r/config.json"
    described = json.loads(config.read_bytes())
    tokenizer = load_tokenizer(fates_copy.store).fingerprint
    described["identity"]["tokenizer_fingerprint"] = tokenizer
    config.write_text(json.dumps(described))
    to = ["--to", str(root.parent / "out")]
    calls: Sequence[tuple[Callable[[list[str]], int], list[str]]] = (
        (generate.main, [f"--run={name}"]),
        (generate.main, ["--run", "r", f"--checkpoint={name}"]),
        (evaluate.main, [f"--run={name}"]),
        (export.main, [f"--run={name}", "--to", "hf", "--folder", str(root.parent / "out")]),
        (publish.main, [f"--snapshot={name}", *to, "--contact", "a@b.test"]),
    )
    for call, words in calls:
        code, output = ends_in_a_line(lambda call=call, words=words: call([*corpus, *words]))  # type: ignore[misc]
        assert code == 2, (words, output)
        option = "no checkpoint" if "r" in words else words[0].partition("=")[0]
        assert option in output, (words, output)
        assert "Traceback" not in output
        assert "\x00" not in output
    assert tree(outside) == before
    assert not os.path.exists(root.parent / "out")
