"""The record of a checkpoint, `checkpoint.json`: its own digest, and the checks on reading it.

The record is the commit, so a damaged one must not pass for a whole one. Its digest covers every
value except the digests of the tensor files: those are compared with the files themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xxhash import xxh3_128

from train.checkpoints.tensor_files import FILE, INDEX

# 2 kept its index as a pickle, which is not read any more: it runs what its author wrote.
FORMAT = 3
RECORD = "checkpoint.json"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its digest."""
    return {**record, "digest": record_digest(record)}


def record_digest(record: Mapping[str, Any]) -> str:
    """Digest of a record as its JSON is read back, whatever order its keys have."""
    content = {name: value for name, value in record.items() if name != "digest"}
    content["files"] = [file["file"] for file in record["files"]]
    return xxh3_128(json.dumps(content, sort_keys=True).encode()).hexdigest()


def problem(record: Any) -> str | None:
    """A reason why the contents of a checkpoint.json cannot be used, or None."""
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        return (
            f"format {found!r}, this version reads {FORMAT}; export it with the version that wrote it "
            "(webtext export) and import the folder, or train again with --rebuild"
        )
    if type(record.get("step")) is not int or record["step"] < 0:
        return f"step {record.get('step')!r} in {RECORD}; expected a number of steps"

    files = record.get("files")
    if not isinstance(files, list) or not files:
        return f"no list of files in {RECORD}"

    for file in files:
        if not isinstance(file, dict):
            return f"{RECORD} names the file {file!r}; expected a file with its digest"
        name = file.get("file")
        if not isinstance(file.get("digest"), str):
            return f"{RECORD} has no digest of the file {name!r}"
        if not isinstance(name, str) or not (name == INDEX or FILE.match(name)):
            return f"{RECORD} names the file {name!r}; expected rank-NNNNN.safetensors or {INDEX}"

    if INDEX not in {file["file"] for file in files}:
        return f"{RECORD} does not name {INDEX}"

    # Records written before November 2026 have no digest of their own.
    expected = record.get("digest")
    if expected is not None and (digest := record_digest(record)) != expected:
        return f"{RECORD} has digest {digest}, expected {expected}"

    return None
