"""Winograd schemas of our own in the official file's format.

The demo is offline, and the licence of WSC273 does not allow us to ship it. Each sentence breaks
off after one of two candidates. The first ending fits the first candidate, the second the second.
"""

from __future__ import annotations

import json
from pathlib import Path

SCHEMAS = (
    (
        "Anna lent Maria her bicycle because",
        ("Anna", "Maria"),
        ("wanted to be kind.", "had to get to work."),
    ),
    (
        "The rope could not lift the crate since",
        ("the rope", "the crate"),
        ("was worn thin.", "was full of iron."),
    ),
    (
        "Tom asked Peter for the way because",
        ("Tom", "Peter"),
        ("was new in town.", "knew every street."),
    ),
    (
        "The lamp lit the corridor badly because",
        ("the lamp", "the corridor"),
        ("needed a new bulb.", "was painted black."),
    ),
    (
        "The teacher thanked the girl after",
        ("the teacher", "the girl"),
        ("had been given the lost keys.", "had found the lost keys."),
    ),
    (
        "The page could not be opened by the browser because",
        ("the page", "the browser"),
        ("had been deleted.", "was ten years old."),
    ),
)


def write_schemas(folder: Path) -> Path:
    """Write the twelve lines for `train.evaluate --task wsc273=FILE` and return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "winograd_demo.jsonl"
    lines = [
        {
            "context_options": [f"{start} {each}" for each in candidates],
            "continuation": ending,
            "gold": gold,
        }
        for start, candidates, endings in SCHEMAS
        for gold, ending in enumerate(endings)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")

    return path
