"""The folder of real material, and prose by the megabyte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import zstandard


def shared() -> Path:
    """The folder of real material. Raises SystemExit if it is missing."""
    root = Path(os.environ.get("WEBTEXT_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        raise SystemExit(f"no folder {root}; set WEBTEXT_SHARED to the folder of real material")
    return root


def prose(limit_bytes: int) -> tuple[list[str], str]:
    """Real documents up to a size, and where they came from."""
    texts: list[str] = []
    for text in _texts(shared() / "prose" / "dev"):
        limit_bytes -= len(text.encode())
        if limit_bytes < 0:
            break
        texts.append(text)

    size = sum(len(text.encode()) for text in texts)
    return texts, f"{len(texts)} documents of prose/dev, {size / 1e6:.1f} MB"


def _texts(folder: Path) -> Iterator[str]:
    """Yield documents of all files in turn: any prefix is a mixture."""
    streams = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
        streams.append(iter(TextIOWrapper(reader, "utf-8")))

    while streams:
        for stream in list(streams):
            line = next(stream, None)
            if line is None:
                streams.remove(stream)
            else:
                yield json.loads(line)["text"]
