"""The whole dedup stage, tables on disk to verdicts, on prose and on pages of one frame."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import shutil
import tempfile
from functools import partial
from typing import Any

import pyarrow as pa

from bench.dedup.material import PAGE_CHARS
from bench.material import prose
from bench.measure import Contestant, Turn, Work, cpu_s
from corpus.tables.manifest import read_manifest

STAGE_PAGES = 50_000
FRAME_PAGES = 20_000
# (words of the frame, words of a page): similarities .696 and .739 of 5-word shingles.
FRAME = (247, 300)
FRAME_BELOW_THRESHOLD = (259, 304)
PART_PAGES = 8_000


def stage_ours(num_pages: int) -> Work:
    """The command over one batch, then over one of a tenth, then over one of a hundredth."""
    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    store = open_corpus(f"{root}/corpus", create=True)
    texts = _near_copies(num_pages + num_pages // 10 + num_pages // 100)
    _write_batch(store, "one", texts[:num_pages])

    def work() -> Turn:
        first_s = _stage_cpu_s(f"{root}/corpus", "one")
        _write_batch(store, "two", texts[num_pages : num_pages + num_pages // 10])
        tenth_s = _stage_cpu_s(f"{root}/corpus", "two")
        _write_batch(store, "three", texts[num_pages + num_pages // 10 :])
        hundredth_s = _stage_cpu_s(f"{root}/corpus", "three")
        counts = read_manifest(store, "verdicts", "one").counts
        index_bytes = sum(part.bytes for part in read_manifest(store, "bands", "one").parts)
        shutil.rmtree(root)

        return Turn(
            num_pages,
            {
                "first_cpu_s": first_s,
                "tenth_frac": tenth_s / first_s,
                "hundredth_frac": hundredth_s / first_s,
                "removed_frac": 1 - counts["kept"] / num_pages,
                "index_bytes_per_page": index_bytes / counts["kept"],
            },
        )

    return work


def against_ours(num_pages: int) -> Work:
    """The command over a tenth of the pages, without and with the others known from Parquet."""
    import pyarrow.parquet as pq

    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    texts = _near_copies(num_pages + num_pages // 10)
    pq.write_table(
        pa.table({"text": texts[:num_pages]}), f"{root}/known.parquet", row_group_size=1000
    )
    # The first command of the process loads the compiled code.
    for name in ("before", "alone", "against"):
        _write_batch(open_corpus(f"{root}/{name}", create=True), "one", texts[num_pages:])

    def work() -> Turn:
        _stage_cpu_s(f"{root}/before", "one")
        alone_s = _stage_cpu_s(f"{root}/alone", "one")
        known = f'dedup.against=["{root}/known.parquet"]'
        against_s = _stage_cpu_s(f"{root}/against", "one", "--set", known)
        shutil.rmtree(root)
        return Turn(num_pages, {"cpu_ms_per_known": 1000 * (against_s - alone_s) / num_pages})

    return work


def frame_ours(num_pages: int, sizes: tuple[int, int] = FRAME) -> Work:
    """The command over pages of one frame; a batch before it loads the compiled code."""
    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    store = open_corpus(f"{root}/corpus", create=True)
    generator = random.Random(1)
    frame_words, page_words = sizes

    def pages(count: int, name: str) -> list[str]:
        frame = [f"{name}{number}" for number in range(frame_words)]
        rest = page_words - frame_words
        return [
            " ".join([*frame, *(f"w{generator.randrange(10**9)}" for _ in range(rest))])
            for _ in range(count)
        ]

    _write_batch(store, "before", pages(200, "b"))
    _stage_cpu_s(f"{root}/corpus", "before")
    _write_batch(store, "one", pages(num_pages, "f"))

    def work() -> Turn:
        _stage_cpu_s(f"{root}/corpus", "one")
        kept = read_manifest(store, "verdicts", "one").counts["kept"]
        shutil.rmtree(root)
        return Turn(num_pages, {"kept_frac": kept / num_pages})

    return work


def _stage_cpu_s(corpus: str, batch: str, *settings: str) -> float:
    """CPU seconds of the stage on one batch, in this process."""
    from dedup import run

    started = cpu_s()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run.main(["--corpus", corpus, "--batch", batch, "--executor", "serial", *settings])
    if code:
        raise SystemExit(f"the stage ended with exit code {code}")

    return cpu_s() - started


def _write_batch(store: Any, batch: str, texts: list[str]) -> None:
    """Links and documents of these texts, committed as the stages before would."""
    from xxhash import xxh3_128_hexdigest

    from corpus.tables.commit import commit_table
    from corpus.tables.parquet import write_part
    from corpus.tables.schemas import DOCUMENTS, LINKS, part_of_id

    rows: list[list[dict[str, Any]]] = [[] for _ in range(max(1, len(texts) // PART_PAGES))]
    for place, text in enumerate(texts):
        name = xxh3_128_hexdigest(f"{batch} {place}".encode())
        row = {
            "doc_id": name, "url": "", "domain": "", "text": text, "language": "en", "language_score": 1.0,
            "num_words": 0, "extractor": "", "score": 3 + place % 7, "subreddit": "",
        }  # fmt: skip
        rows[part_of_id(name, len(rows))].append(row)

    parts = []
    for number, here in enumerate(rows):
        here.sort(key=lambda row: str(row["doc_id"]))
        table = pa.Table.from_pylist(here, DOCUMENTS.schema)
        name = f"part-{number:05}.parquet"
        parts.append(
            write_part(store, DOCUMENTS.folder(batch), name, DOCUMENTS, [table], number, len(rows))
        )

    commit_table(store, LINKS, batch, [], num_parts=len(rows))
    commit_table(store, DOCUMENTS, batch, parts, num_parts=len(rows))


def _near_copies(num_pages: int) -> list[str]:
    """Pages of prose; every fourth is an edited copy of one of the previous hundred."""
    generator = random.Random(1)
    texts, _ = prose(2 * PAGE_CHARS * num_pages)
    whole = [text[at : at + PAGE_CHARS] for text in texts for at in range(0, len(text), PAGE_CHARS)]
    pages: list[str] = []

    while len(pages) < num_pages:
        if len(pages) % 4 == 3:
            spelled = generator.choice(pages[-100:]).split()
            for _ in range(generator.randrange(8)):
                spelled[generator.randrange(len(spelled))] = "another"
            pages.append(" ".join(spelled))
        else:
            pages.append(whole[len(pages) - len(pages) // 4])

    return pages


STAGE = (Contestant("ours", stage_ours),)
AGAINST = (Contestant("ours", against_ours),)
FRAMES = (
    Contestant("ours, similarity .70", frame_ours),
    Contestant("ours, similarity .739", partial(frame_ours, sizes=FRAME_BELOW_THRESHOLD)),
)
