"""Proofs of `webtext ablate` on corpora of known order, through the commands as they are.

    garbage   10 % of the documents are planted garbage: is it found, at what p and cost
    order     clean, 10 % and 30 % garbage, and shuffled words: are they ranked right
    equal     the same documents under other addresses: is a difference claimed

    python -m bench.webtext.ablations garbage [--repeats 1] [--seeds 5] [--tokens 200k] [--to FOLDER]

Each repeat takes other documents. A repeat that is finished in --to is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.material import prose
from bench.measure import cpu_s
from clean import run as clean_run
from dedup import run as dedup_run
from shards import run as shards_run
from webtext import import_documents
from webtext.ablate import command as ablate

DOCUMENT_CHARS = 1_500
# Documents of a corpus, and those that all runs are judged on.
NUM_DOCUMENTS, NUM_HELD_OUT = 1_500, 24
VOCABULARY = 1_024
SHAPE = (
    "train.model.n_layer=2",
    "train.model.n_head=2",
    "train.model.n_embd=64",
    "train.model.block_size=64",
    "train.batch_size=4",
    "train.optimizer.learning_rate=0.002",
    # Threads of so small a model wait for each other: two took six times the CPU time of one.
    "train.runtime.num_threads=1",
)
# Garbage has to come through: the question is what it does to a model.
CLEAN = ("clean.language.languages=[]", "clean.quality.min_words=1")
SHARDS = ("shards.writer.val_frac=0.01", "shards.writer.row_group_tokens=8192")

Change = Callable[[str, random.Random], str]


def main() -> None:
    """Run the repeats, and print one JSON object for each and one for all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first repeat")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", default="200k")
    parser.add_argument("--to", type=Path, default=None)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.to or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = []
        for number in range(args.first, args.first + args.repeats):
            place = folder / f"{args.kind}-{args.seeds}-{args.tokens}-{number}"
            found.append(repeat(args.kind, number, place, args.seeds, args.tokens))
            print(json.dumps(found[-1]), flush=True)
        right = sum(each["right"] for each in found)
        print(json.dumps({"kind": args.kind, "repeats": len(found), "right": right}))


def repeat(kind: str, number: int, folder: Path, seeds: int, tokens: str) -> dict[str, Any]:
    """One experiment: build the corpora, run the ablation and judge its result."""
    result = folder / "bench.json"
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    before, started = cpu_s(), time.monotonic()
    documents, held_out = material(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "held_out.jsonl").write_text(_lines(held_out))
    arms = KINDS[kind]
    tokenizer = ""
    for place, (name, change) in enumerate(arms.items()):
        rng = random.Random(f"{number}/{name}")
        texts = [change(text, rng) for text in documents]
        # Equal addresses give equal orders, which pair the runs; "equal" wants others.
        site = f"site{place if kind == 'equal' else 0}"
        tokenizer = build(folder / name, texts, site, tokenizer)
    built_s = cpu_s() - before

    (folder / "arms.toml").write_text(
        "".join(f'[[arm]]\nname = "{name}"\ncorpus = "{folder / name}"\n' for name in arms)
    )
    _quietly(
        ablate.main,
        [
            *("--arms", str(folder / "arms.toml"), "--to", str(folder / "out")),
            *("--seeds", str(seeds), "--tokens", tokens, "--shape", "tiny"),
            *("--held-out", str(folder / "held_out.jsonl")),
            *(word for each in SHAPE for word in ("--set", each)),
        ],
    )
    made = json.loads((folder / "out" / "result.json").read_text())
    verdicts = [arm["against_first"]["verdict"] for arm in made["arms"][1:]]
    found = {
        "kind": kind,
        "number": number,
        "right": right(kind, made["arms"]),
        "means": [round(arm["mean"], 4) for arm in made["arms"]],
        "verdicts": verdicts,
        "p": [arm["against_first"]["p"] for arm in made["arms"][1:]],
        "cpu_s": round(cpu_s() - before, 1),
        "cpu_s_of_corpora": round(built_s, 1),
        "wall_s": round(time.monotonic() - started, 1),
    }
    result.write_text(json.dumps(found))
    return found


def right(kind: str, arms: Sequence[dict[str, Any]]) -> bool:
    """The answer that is known beforehand."""
    if kind == "garbage":
        against = arms[1]["against_first"]
        return against["verdict"] == "worse" and against["p"] < 0.01
    if kind == "order":
        means = [arm["mean"] for arm in arms]
        return means == sorted(means)
    return all(arm["against_first"]["verdict"] not in ("better", "worse") for arm in arms[1:])


def material(number: int) -> tuple[list[str], list[str]]:
    """Documents and held-out documents of a repeat, cut from prose at ends of paragraphs."""
    texts, _ = prose(20_000_000)
    pieces = [piece for text in texts for piece in _pieces(text)]
    picked = random.Random(number).sample(pieces, NUM_DOCUMENTS + NUM_HELD_OUT)
    return picked[NUM_HELD_OUT:], picked[:NUM_HELD_OUT]


def _pieces(text: str) -> list[str]:
    """Whole paragraphs of about DOCUMENT_CHARS together."""
    pieces: list[list[str]] = [[]]
    size = 0
    for paragraph in text.split("\n\n"):
        if size >= DOCUMENT_CHARS:
            pieces.append([])
            size = 0
        pieces[-1].append(paragraph)
        size += len(paragraph)
    return [piece for piece in map("\n\n".join, pieces) if 1_000 <= len(piece) <= 3_000]


def garbage(share: float) -> Change:
    """Replace a share of the documents by random letters in words of the same lengths."""

    def change(text: str, rng: random.Random) -> str:
        if rng.random() >= share:
            return text
        letters = "abcdefghijklmnopqrstuvwxyz"
        return " ".join("".join(rng.choices(letters, k=len(word))) for word in text.split())

    return change


def shuffled(text: str, rng: random.Random) -> str:
    """The words of a document in random order."""
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


KINDS: dict[str, dict[str, Change]] = {
    "garbage": {"clean": garbage(0), "garbage-10": garbage(0.1)},
    "order": {
        "clean": garbage(0),
        "garbage-10": garbage(0.1),
        "garbage-30": garbage(0.3),
        "shuffled": shuffled,
    },
    "equal": {"one": garbage(0), "other": garbage(0)},
}


def build(root: Path, texts: Sequence[str], site: str, tokenizer: str) -> str:
    """Make a corpus of texts with the given tokenizer, or train one; its file."""
    source = root.with_suffix(".jsonl")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(
        "".join(
            json.dumps({"text": text, "url": f"https://{site}.test/{place}"}) + "\n"
            for place, text in enumerate(texts)
        )
    )
    batch = ["--corpus", str(root), "--batch", "b"]
    named = ["--text-column", "text", "--url-column", "url"]
    _quietly(import_documents.main, [*batch, "--jsonl", str(source), *named])

    serial = ["--executor", "serial"]
    _quietly(clean_run.main, [*batch, *serial, *_sets(CLEAN)])
    _quietly(dedup_run.main, [*batch, *serial])
    vocabulary = (
        f"shards.tokenizer.source={tokenizer or 'train'}",
        *(() if tokenizer else (f"shards.tokenizer.vocab_size={VOCABULARY}",)),
    )
    words = [*batch, *serial, *_sets((*SHARDS, *vocabulary)), "--snapshot", "b"]
    _quietly(shards_run.main, words)
    return tokenizer or str(root / "tokenizer" / "tokenizer.json")


def _sets(settings: Sequence[str]) -> list[str]:
    return [word for each in settings for word in ("--set", each)]


def _lines(texts: Sequence[str]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def _quietly(command: Callable[[list[str]], int], words: list[str]) -> None:
    """Run a command without its output. Raises: SystemExit with its output if it fails."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = command(words)
    if code != 0:
        raise SystemExit(f"{command.__module__} {' '.join(words)}: {code}\n{output.getvalue()}")


if __name__ == "__main__":
    main()
