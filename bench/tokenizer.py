"""GPT-2's ids of real prose: our kernel, the whole stage on one core, and the libraries people use.

`ours` is the encoder alone, fed the same list of texts as the others; `ours-stage` is the whole way from a documents
table on disk to committed shards, in MB of text per second. Equality of ids is counted per document.
"""

from __future__ import annotations

import os

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import base64
import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from bench.material import prose
from bench.measure import Contestant, Turn, Work, alternate, arguments, show
from corpus.storage.store import open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import write_part
from corpus.tables.schemas import DOCUMENTS, LINKS, VERDICTS
from shards import run as stage
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import Tokenizer

TIKTOKEN_RULE = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def main() -> None:
    args = arguments(__doc__, rounds=5).parse_args()
    texts, source = prose(12_000_000)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    ours = Tokenizer(vocabulary.gpt2(), "kernel")
    reference = Tokenizer(vocabulary.gpt2(), "tokenizers")._library
    ids = ours.encode_batch(texts)
    array = pa.array(texts, pa.large_string())

    def contestant(
        name: str, version: str, encode: Callable[[], object], quality: Mapping[str, float]
    ) -> Contestant:
        def work() -> Turn:
            encode()
            return Turn(megabytes, quality)

        return Contestant(name, lambda _: work, version=version)

    theirs = [encoding.ids for encoding in reference.encode_batch(texts)]
    contestants = [
        contestant("ours", "kernel", lambda: ours.encode_array(array), {}),
        contestant(
            "tokenizers",
            metadata.version("tokenizers"),
            lambda: reference.encode_batch(texts),
            _equal(ids, theirs),
        ),
    ]
    with contextlib.suppress(ImportError):
        import tiktoken

        ranks = {token: index for index, token in enumerate(ours.vocabulary.tokens[:-1])}
        encoding = tiktoken.Encoding(
            "gpt2", pat_str=TIKTOKEN_RULE, mergeable_ranks=ranks, special_tokens={}
        )
        contestants.append(
            contestant(
                "tiktoken",
                metadata.version("tiktoken"),
                lambda: [encoding.encode_ordinary(text) for text in texts],
                _equal(ids, [encoding.encode_ordinary(text) for text in texts]),
            )
        )
    with contextlib.suppress(ImportError):
        encoder = _gigatoken(ours)
        equal = _equal(ids, [list(found) for found in encoder.encode_batch(texts)])
        contestants.append(
            contestant(
                "gigatoken",
                metadata.version("gigatoken"),
                lambda: encoder.encode_batch(texts),
                equal,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        stage_work = _stage(folder, texts, megabytes)
        contestants.append(Contestant("ours-stage", lambda _: stage_work, version="kernel"))
        result = alternate(
            "tokenizer", contestants, None, description=source, unit="MB/s", rounds=args.rounds
        )
        show(result, as_json=args.json)


def _equal(ours: list[list[int]], theirs: list[list[int]]) -> dict[str, float]:
    return {"documents_that_differ": sum(a != b for a, b in zip(ours, theirs, strict=True))}


def _gigatoken(ours: Tokenizer) -> Any:
    import gigatoken

    with tempfile.NamedTemporaryFile("w", suffix=".tiktoken") as file:
        for index, token in enumerate(ours.vocabulary.tokens[:-1]):
            file.write(f"{base64.b64encode(token).decode()} {index}\n")
        file.flush()
        return gigatoken.Tokenizer.from_tiktoken(file.name)


def _stage(folder: str, texts: list[str], megabytes: float) -> Work:
    """The door over a batch of these documents, rebuilt at every turn with another share for validation."""
    logging.disable(logging.INFO)
    root = f"{folder}/corpus"
    store = open_corpus(root, create=True)
    by_id = sorted((xxh3_128_hexdigest(f"{n}".encode()), text) for n, text in enumerate(texts))
    filled: dict[str, Any] = {
        "url": "", "domain": "", "title": None, "language": "en", "language_score": 1.0, "num_words": 0,
        "published": None, "extractor": "", "score": 3, "subreddit": "", "fetched_at": 0, "kept": True, "reason": None,
        "duplicate_of": None, "similarity": None, "testsets": [], "overlap_ngrams": 0, "cuts": [],
    }  # fmt: skip
    rows = {
        LINKS: [],
        DOCUMENTS: [{**filled, "doc_id": doc_id, "text": text} for doc_id, text in by_id],
        VERDICTS: [{**filled, "doc_id": doc_id} for doc_id, _ in by_id],
    }
    for table, content in rows.items():
        found = pa.Table.from_pylist(content, table.schema)
        part = write_part(store, table.folder("b"), "part-00000.parquet", table, [found], 0, 1)
        commit_table(store, table, "b", [part], num_parts=1, counts={"kept": len(by_id)})
    turns = iter(range(1, 1000))

    def turn() -> Turn:
        number = next(turns)
        flags = [
            "--corpus",
            root,
            "--batch",
            "b",
            "--executor",
            "serial",
            "--rebuild",
            "--snapshot",
            f"s{number}",
        ]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = stage.main([*flags, "--set", f"shards.writer.val_frac=0.00{number}"])
        if code:
            raise SystemExit(f"the stage ended with exit code {code}")
        return Turn(megabytes)

    return turn


if __name__ == "__main__":
    main()
