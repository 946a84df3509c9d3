"""The whole dedup stage in two workers on made pages, to see how time and memory grow.

A tenth of the pages has one frame at similarity .739, just under the threshold. The others have 20
to 100 words, and a third of them are near copies in families of five.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from bench.measure import Contestant, Turn, Work, cpu_s
from corpus.tables.manifest import read_manifest

MADE_PAGES = 1_000_000
PART_PAGES = 8_000
FRAME_WORDS, FRAME_PAGE_WORDS = 259, 304
FAMILY = 5
VOCABULARY = 200_000


def made_ours(num_pages: int, passages: bool = False) -> Work:
    """The command over made pages, with passages of 40 words anywhere if asked."""
    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    store = open_corpus(f"{root}/corpus", create=True)
    _write(store, num_pages)
    settings = ["--set", "dedup.passages.min_words=40", "--set", "dedup.passages.anywhere=true"]

    def work() -> Turn:
        from dedup import run

        started = cpu_s()
        arguments = ["--corpus", f"{root}/corpus", "--batch", "one", "--workers", "2"]
        quiet = contextlib.redirect_stderr(io.StringIO())
        with contextlib.redirect_stdout(io.StringIO()), quiet:
            code = run.main([*arguments, *(settings if passages else [])])
        if code:
            raise SystemExit(f"the stage ended with exit code {code}")

        kept = read_manifest(store, "verdicts", "one").counts["kept"]
        shutil.rmtree(root)
        return Turn(
            num_pages,
            {
                "kept_frac": kept / num_pages,
                "cpu_ms_per_page": 1000 * (cpu_s() - started) / num_pages,
            },
        )

    return work


def _write(store: Any, num_pages: int) -> None:
    """Links and documents of made pages, a part at a time."""
    from corpus.tables.commit import commit_table
    from corpus.tables.parquet import write_part
    from corpus.tables.schemas import DOCUMENTS, LINKS

    num_parts = -(-num_pages // PART_PAGES)
    parts = []
    for number in range(num_parts):
        pages = range(number * PART_PAGES, min(num_pages, (number + 1) * PART_PAGES))
        first_id = -(-(number << 32) // num_parts)
        rows = [
            {
                "doc_id": f"{first_id:08x}{page:08x}{page:016x}", "url": "", "domain": "",
                "text": text, "language": "en", "language_score": 1.0, "num_words": 0,
                "extractor": "", "score": 3 + page % 7, "subreddit": "",
            }
            for page, text in zip(pages, _texts(pages), strict=True)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, DOCUMENTS.schema)
        folder, name = DOCUMENTS.folder("one"), f"part-{number:05}.parquet"
        parts.append(write_part(store, folder, name, DOCUMENTS, [table], number, num_parts))

    commit_table(store, LINKS, "one", [], num_parts=num_parts)
    commit_table(store, DOCUMENTS, "one", parts, num_parts=num_parts)


def _texts(pages: range) -> Iterator[str]:
    """The text of each page, the same for the same number."""
    frame = " ".join(f"frame{number}" for number in range(FRAME_WORDS))
    for page in pages:
        if page % 10 == 0:
            own = np.random.default_rng(page).integers(10**9, size=FRAME_PAGE_WORDS - FRAME_WORDS)
            yield f"{frame} {' '.join(f'w{word}' for word in own.tolist())}"
            continue

        family = page // (3 * FAMILY) if page % 3 == 0 else 10**9 + page
        generator = np.random.default_rng(family)
        words = generator.integers(VOCABULARY, size=int(generator.integers(20, 101))).tolist()
        words[-1] = VOCABULARY + page
        yield " ".join(f"w{word}" for word in words)


MADE = (
    Contestant("ours", made_ours),
    Contestant("ours, passages of 40 words", partial(made_ours, passages=True)),
)
