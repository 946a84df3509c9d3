"""Evaluation sets by their name on the Hugging Face hub: `hf:<owner>/<name>[/<config>[/<split>]]`.

The hub converts every data set to Parquet on a branch of its own, as
`<config>/<split>/0000.parquet`. These files are fetched once into the hub's cache on this machine
and then read like any other, also without network. The default split is `test`, or `validation` if
there is no test; the default is all configs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from corpus.errors import InputError, first_line

PREFIX = "hf:"
REVISION = "refs/convert/parquet"
# Default splits: the first that exists is used.
SPLITS = ("test", "validation")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One fetched file.

    `name` is `<data set>/<config>/<split>`, with the file's number if a split has several.
    """

    name: str
    path: Path


def fetch(name: str) -> list[HubFile]:
    """Fetch the files of a name with the prefix `hf:`.

    Raises: InputError for a malformed or unknown name, or without network and cache.
    """
    fields = name.removeprefix(PREFIX).split("/")
    if not 2 <= len(fields) <= 4 or not all(fields):
        raise InputError(f"test set {name}: expected {PREFIX}<owner>/<name>[/<config>[/<split>]]")

    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ModuleNotFoundError as error:
        raise InputError(f"test set {name}: needs `pip install huggingface_hub`") from error

    config = fields[2] if len(fields) > 2 else "*"
    splits = fields[3:] or SPLITS
    try:
        root = snapshot_download(
            "/".join(fields[:2]),
            repo_type="dataset",
            revision=REVISION,
            allow_patterns=[f"{config}/{split}/*.parquet" for split in splits],
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"test set {name}: cannot be had from the hub ({first_line(error)}); name files or a folder instead"
        ) from error

    found = _files(Path(root), fields[1], config, splits)
    if not found:
        raise InputError(
            f"test set {name}: the hub has no Parquet file {config}/{'|'.join(splits)} of it"
        )

    return found


def _files(
    root: Path, name: str, config: str, splits: tuple[str, ...] | list[str]
) -> list[HubFile]:
    """The files of the first existing split of every config."""
    found = []
    for folder in sorted(path for path in root.glob(config) if path.is_dir()):
        split = next((each for each in splits if any((folder / each).glob("*.parquet"))), None)
        files = sorted((folder / split).glob("*.parquet")) if split is not None else []
        for path in files:
            number = f"/{path.stem}" if len(files) > 1 else ""
            found.append(HubFile(f"{name}/{folder.name}/{split}{number}", path))

    return found
