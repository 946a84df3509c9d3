"""Annotated pages: the archives that they come in, and labels of their blocks.

A block's label is the share of its four-word runs found in the gold text. A block of fewer words
would be found anywhere; it is content if the gold text has it next to its neighbour on the page.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard

from clean.learned.blocks import PageBlocks, blocks
from clean.learned.features import features
from clean.learned.layout import END, START
from clean.page_source.decode import decode
from clean.rewrite import rewritten
from tools.extraction_scores import words_of

GOLD_FILE: Final = "gold_dev.jsonl.zst"
PAGES_FILE: Final = "pages_dev.tar.zst"
SHINGLE: Final = 4
# Archives may be packed with windows of up to this size.
MAX_WINDOW_BYTES: Final = 1 << 31


class Sample(NamedTuple):
    """An annotated page: features, and per block a label in 0..1 and a number of words."""

    gold: dict[str, Any]
    page: PageBlocks
    rows: np.ndarray
    labels: np.ndarray


def archives(folder: Path) -> list[tuple[Path, Path]]:
    """The pairs of annotations and pages in a folder: `gold_NAME.jsonl.zst`, `pages_NAME.tar.zst`."""
    pairs = []
    for gold in sorted(folder.glob("gold_*.jsonl.zst")):
        name = gold.name.removeprefix("gold_").removesuffix(".jsonl.zst")
        pages = folder / f"pages_{name}.tar.zst"
        if pages.is_file():
            pairs.append((gold, pages))

    return pairs


def read_pages(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """(annotation, HTML) of every page in the archives of a folder."""
    for row, body in read_bodies(folder):
        yield row, decode(body).text


def read_bodies(folder: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """(annotation, page as served) of every page in the archives of a folder."""
    for gold, pages in archives(folder):
        yield from _read_archive(gold, pages)


def _read_archive(gold_path: Path, pages_path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    with zstandard.open(gold_path, "rt", encoding="utf-8") as lines:
        gold = {(row := json.loads(line))["file"].removesuffix(".gz"): row for line in lines}

    unpack = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    with (
        open(pages_path, "rb") as raw,
        unpack.stream_reader(raw) as stream,
        tarfile.open(fileobj=io.BufferedReader(stream), mode="r|") as archive,
    ):
        for member in archive:
            row = gold.get(member.name.removeprefix("./").removesuffix(".gz"))
            content = archive.extractfile(member)
            if row is not None and content is not None:
                # A page without a known domain is a domain of its own.
                row["domain"] = row.get("domain") or row["id"]
                yield row, content.read()


def sample(gold: dict[str, Any], html: str) -> Sample:
    """Features and labels of a page with gold text."""
    page = blocks(rewritten(html).encode("utf-8", "replace"))
    return Sample(gold, page, features(page), labels(block_words(page), gold["text"] or ""))


def block_words(page: PageBlocks) -> list[list[str]]:
    """The words of every block, in lower case."""
    text = page.text.tobytes()
    return [
        words_of(unescape(text[place[START] : place[END]].decode("utf-8", "replace")).lower())
        for place in page.place
    ]


def labels(words: list[list[str]], gold: str) -> np.ndarray:
    """The share of every block in the gold text, (b,) float64 in 0..1."""
    wanted = words_of(gold.lower())
    grams = {
        tuple(wanted[i : i + n]) for n in range(2, SHINGLE + 1) for i in range(len(wanted) - n + 1)
    }
    found = np.zeros(len(words))

    for block, own in enumerate(words):
        if len(own) >= SHINGLE:
            runs = [tuple(own[i : i + SHINGLE]) for i in range(len(own) - SHINGLE + 1)]
            found[block] = sum(run in grams for run in runs) / len(runs)

    for block, own in enumerate(words):
        if 0 < len(own) < SHINGLE:
            found[block] = _joins(words, found, block, grams)

    return found


def _joins(
    words: list[list[str]], found: np.ndarray, block: int, grams: set[tuple[str, ...]]
) -> float:
    """1 if a short block has the same neighbour in the gold text as on the page."""
    own = tuple(words[block])
    before = _around(words, found, range(block - 1, max(-1, block - 6), -1))
    after = _around(words, found, range(block + 1, min(len(words), block + 6)))
    need = SHINGLE - len(own)
    for other in before:
        if (*other[-need:], *own) in grams and len(other):
            return 1.0

    for other in after:
        if (*own, *other[:need]) in grams and len(other):
            return 1.0

    return 0.0


def _around(words: list[list[str]], found: np.ndarray, order: range) -> list[tuple[str, ...]]:
    """The words that may be next to a short block in the gold text.

    They are its neighbour's, and those of the nearest long block of content.
    """
    candidates = []
    for number, other in enumerate(order):
        if number == 0 or (found[other] > 0.5 and len(words[other]) >= SHINGLE):
            candidates.append(tuple(words[other]))
            if number:
                break

    return candidates
