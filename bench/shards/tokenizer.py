"""GPT-2's ids of real prose: our encoder, the whole stage on one core, and other libraries.

Every round encodes other documents, since encoders cache words: a text seen before takes a tenth of
the time. `ours` is the encoder alone on the same texts; `ours-stage` runs from a documents table on
disk to committed shards, in MB of text per second. Equality of ids is counted per document.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
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
from shards.tokenizer.encode import ReferenceEncoder, Tokenizer

TIKTOKEN_RULE = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def main() -> None:
    args = arguments(__doc__, rounds=5).parse_args()
    # Read by the libraries when their first thread starts.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    texts, source = prose(40_000_000)
    slices = [texts[number :: args.rounds + 1] for number in range(args.rounds + 1)]
    ours = Tokenizer(vocabulary.gpt2())
    expected = [_ids_by_reference(part) for part in slices]

    contestants = [
        Contestant("ours", lambda _: _turns(slices, expected, ours.encode_batch), version="stage"),
        *(
            Contestant(name, lambda _, load=load: _turns(slices, expected, load()), name)
            for name, load in PEERS.items()
        ),
    ]

    with tempfile.TemporaryDirectory() as folder:
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        stage_work = _stage(folder, texts, megabytes)
        contestants.append(Contestant("ours-stage", lambda _: stage_work, version="stage"))
        result = alternate(
            "tokenizer", contestants, None, description=source, unit="MB/s", rounds=args.rounds
        )
        show(result, as_json=args.json)


Encode = Callable[[list[str]], Sequence[Any]]


def _turns(slices: list[list[str]], expected: list[list[list[int]]], encode: Encode) -> Work:
    """One slice a turn, each another one."""
    turns = iter(range(len(slices)))
    differing: list[int] = []

    def turn() -> Turn:
        number = next(turns)
        found = encode(slices[number])
        megabytes = sum(len(text.encode()) for text in slices[number]) / 1e6
        differing.append(
            sum(list(a) != b for a, b in zip(found[:20], expected[number][:20], strict=True))
        )
        return Turn(megabytes, {"documents_that_differ": sum(differing)})

    return turn


def _ids_by_reference(texts: list[str]) -> list[list[int]]:
    """Ids of the first documents of a slice; `tokenizers` takes minutes for all of them."""
    ids, counts = ReferenceEncoder(vocabulary.gpt2())(pa.array(texts[:20], pa.large_string()))
    return [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])]


def _tokenizers() -> Encode:
    import tokenizers

    library = tokenizers.Tokenizer.from_str(vocabulary.gpt2().encoder_json)
    return lambda texts: [found.ids for found in library.encode_batch_fast(texts)]


def _tiktoken() -> Encode:
    import tiktoken

    ranks = vocabulary.gpt2().ids
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=TIKTOKEN_RULE, mergeable_ranks=ranks, special_tokens={}
    )
    return lambda texts: [encoding.encode_ordinary(text) for text in texts]


def _gigatoken() -> Encode:
    import gigatoken

    library = gigatoken.Tokenizer.from_json(vocabulary.gpt2().encoder_json)
    return lambda texts: library.encode_batch(texts, parallel=False)


# Libraries by package name; those not installed are left out.
PEERS: dict[str, Callable[[], Encode]] = {
    "tokenizers": _tokenizers,
    "tiktoken": _tiktoken,
    "gigatoken": _gigatoken,
}


def _stage(folder: str, texts: list[str], megabytes: float) -> Work:
    """The command over these documents, rebuilt each turn with another validation share."""
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
