"""The commands of `webtext` in four groups, each with its line of help, and how to import one."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from corpus.errors import InputError
from webtext.stages import needing, stage_main

STAGES = ("crawl", "clean", "dedup", "shards", "train")
# Commands by group, each with its line of help.
GROUPS = {
    "build": {
        "init": "start a corpus and keep the settings that its batches share",
        "crawl": "fetch the outbound links of Reddit dumps, politely, into WARC files",
        "import": "import documents that are text already (Parquet, JSON lines) as a batch",
        "clean": "extract text from fetched pages and drop what is not a document",
        "dedup": "find near-duplicates and overlap with test sets",
        "tokenizer": "train the corpus' tokenizer on several batches",
        "shards": "write tokens and a snapshot",
        "refresh": "run all stages for every new dump, on a schedule",
    },
    "look": {
        "status": "list batches and tables: rows, bytes, age, what is missing or stale",
        "explain": "trace one page from its submission to its tokens",
        "why": "show examples of dropped pages with value, threshold and setting",
        "overlap-test": "plant entries of test sets into pages and measure what dedup finds",
        "query": "run SQL over all tables of a corpus",
        "diff": "compare two snapshots",
        "verify": "check digests, invariants and joins",
        "history": "list what was run: when, by whom, CPU time, rows, bytes",
        "look": "open a window into the corpus: a local web page",
        "report": "write the corpus report as one HTML file",
        "publish": "write a snapshot as a data set with a card, for libraries and hubs",
        "captures": "write a batch's captures as a WACZ package or a CDXJ index",
    },
    "tend": {
        "revive": "fetch captures of dead links from web archives, as WARC files",
        "forget": "take pages or sites down, in every table and snapshot",
        "rights": "ask again what pages say about training, and report it",
        "rebuild": "rebuild later tables under changed settings",
        "drop-batch": "remove a batch that was never finished",
        "doctor": "test a store, a cluster and this machine",
        "soak": "play a made month under kills and frozen workers, and compare the bytes",
        "prune": "delete old snapshots and the files that only they reference",
    },
    "train": {
        "train": "train a GPT-2 on a snapshot",
        "evaluate": "score a checkpoint on zero-shot tasks",
        "fit-quality": "fit a model of quality on votes or labelled texts",
        "ablate": "train a small model on versions of the data and compare them",
        "generate": "sample text from a checkpoint",
        "export": "convert a checkpoint to Hugging Face or GGUF, or from Hugging Face",
        "demo": "build a small corpus and model offline in five minutes (from a checkout)",
    },
}

# Modules with a command of their own, by their command line here.
PROGRAMS = {
    **{f"{stage}.run": f"webtext {stage}" for stage in STAGES},
    "shards.train_tokenizer": "webtext tokenizer",
    **{f"train.{name}": f"webtext {name}" for name in ("evaluate", "generate", "export")},
}


def command_main(name: str) -> Callable[[Sequence[str] | None], int]:
    """Import a command and return its `main`. Raises InputError for an unknown name."""
    if name in STAGES:
        return stage_main(name)
    if name in ("evaluate", "generate", "export"):
        return _train_main(name)
    return _corpus_main(name)


def _train_main(name: str) -> Callable[[Sequence[str] | None], int]:
    with needing("train"):
        if name == "evaluate":
            from train.evaluate import main
        elif name == "generate":
            from train.generate import main
        else:
            from train.export import main
        return main


def _corpus_main(name: str) -> Callable[[Sequence[str] | None], int]:
    # A command imports its own modules only: the others need not be installed.
    if name == "refresh":
        from webtext.upkeep.refresh import main
    elif name == "status":
        from webtext.reports.status import main
    elif name == "explain":
        from webtext.inspection.explain import main
    elif name == "query":
        from webtext.inspection.query import main
    elif name == "diff":
        from webtext.inspection.diff import main
    elif name == "verify":
        from webtext.verify.command import main
    elif name == "report":
        from webtext.reports.html import main
    elif name == "look":
        with needing("look"):
            from webtext.look.command import main
    elif name == "forget":
        from webtext.takedown.command import main
    elif name == "rights":
        with needing("crawl"):
            from webtext.rights.command import main
    elif name == "rebuild":
        from webtext.upkeep.rebuild import main
    elif name == "publish":
        with needing("shards"):
            from webtext.publish.command import main
    elif name == "captures":
        with needing("crawl"):
            from webtext.captures.command import main
    elif name == "fit-quality":
        with needing("clean"):
            from webtext.quality.command import main
    elif name == "ablate":
        with needing("train"):
            from webtext.ablate.command import main
    elif name == "prune":
        from webtext.upkeep.prune import main
    elif name == "history":
        from webtext.inspection.history import main
    elif name == "soak":
        from webtext.soak import main
    elif name == "doctor":
        from webtext.doctor import main
    elif name == "init":
        from webtext.init import main
    elif name == "why":
        from webtext.inspection.why import main
    elif name == "overlap-test":
        with needing("dedup"):
            from webtext.overlap_test import main
    elif name == "revive":
        with needing("crawl"):
            from crawl.captures.revive import main
    elif name == "drop-batch":
        from webtext.upkeep.drop_batch import main
    elif name == "import":
        with needing("crawl"):
            from webtext.import_documents import main
    elif name == "tokenizer":
        with needing("shards"):
            from shards.train_tokenizer import main
    elif name == "demo":
        return _demo_main()
    else:
        known = [each for commands in GROUPS.values() for each in commands]
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean `webtext {near[0]}`? " if near else ""
        raise InputError(f"{name!r} is not a command; {meant}`webtext --help` lists all commands")
    return main


def _demo_main() -> Callable[[Sequence[str] | None], int]:
    # An editable installation finds the packages alone; the demo is beside them in the checkout.
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "examples/demo/__main__.py").is_file():
        sys.path.append(str(checkout))

    try:
        from examples.demo.__main__ import main
    except ImportError as error:
        raise InputError(
            f"the demo is part of the repository, not of the installed package ({error}); "
            "clone the repository and run `make demo`"
        ) from error
    return main
