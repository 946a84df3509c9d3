"""Input of the dedup benches: chapters with exact pairs, pages of 2 KB, shared parameters."""

from __future__ import annotations

import json
from pathlib import Path

import zstandard

from bench.material import shared

THRESHOLD = 0.75
BANDS, ROWS, SHINGLE_WORDS = 14, 8, 5
PAGE_CHARS = 2_000


def chapters() -> tuple[str, str]:
    folder = shared() / "prose" / "neardup"
    texts, pairs = material(str(folder))
    size = sum(len(text.encode()) for text in texts)
    return str(
        folder
    ), f"{len(texts):,} chapters, {size / 1e6:.0f} MB, {len(pairs):,} pairs at or above {THRESHOLD}"


def material(folder: str) -> tuple[list[str], set[tuple[int, int]]]:
    """The texts, and the pairs at or above the threshold as places among them."""
    data = (
        zstandard.ZstdDecompressor()
        .stream_reader((Path(folder) / "docs.jsonl.zst").read_bytes())
        .read()
    )
    rows = [json.loads(line) for line in data.splitlines()]
    place = {row["id"]: index for index, row in enumerate(rows)}
    pairs = set()

    for line in (Path(folder) / "pairs.tsv").read_text("utf-8").splitlines():
        left, right, similarity = line.split("\t")
        if float(similarity) >= THRESHOLD:
            pairs.add((place[left], place[right]))

    return [row["text"] for row in rows], pairs


def pages(folder: str) -> list[str]:
    """The texts cut into pages of some 2 KB."""
    texts, _ = material(folder)
    return [text[at : at + PAGE_CHARS] for text in texts for at in range(0, len(text), PAGE_CHARS)]


def shingles(text: str) -> list[str]:
    """Shingles as a user of a sketching library would write them."""
    words = text.lower().split()
    return [
        " ".join(words[at : at + SHINGLE_WORDS])
        for at in range(max(1, len(words) - SHINGLE_WORDS + 1))
    ]
