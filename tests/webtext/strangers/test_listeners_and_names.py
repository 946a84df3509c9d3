"""Ports that commands open, names that would be paths, and what other users of a machine can see."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from shards.tokenizer.encode import load_tokenizer
from tests.support import fuzz_targets, grown_corpus
from tests.support.hostile_corpus import plant_canary, tree
from tests.webtext.strangers.test_hostile_files import ends_in_a_line
from train import evaluate, export, generate
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
}
"""Everything of ours that accepts connections. Ray and torch open ports of their own
(docs/cluster.md); the ones of a private Ray are closed by its token."""
OPENING = {"bind", "create_server", "start_server", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "TCPStore"}  # fmt: skip
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
