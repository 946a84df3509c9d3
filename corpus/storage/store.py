"""The corpus as a store: opens it, and names its batches and folders.

corpus.json                  the format of this corpus
<table>/<batch>/part-00000.parquet, _manifest.json
work/<batch>/...             receipts, scratch tables and the lock of an unfinished batch
snapshots/<name>.json, tokenizer/, runs/<run>/, reports/
"""

from __future__ import annotations

import re

from corpus.credentials import refuse_credentials
from corpus.errors import FatalError, InputError
from corpus.storage.interface import Store as Store
from corpus.storage.local import LocalStore, local_root
from corpus.storage.objects import ObjectStore
from corpus.storage.self_test import warn_at_first_use

FORMAT = 1

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
# Names that Windows gives to devices, with any ending.
DEVICES = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\.|\Z)", re.IGNORECASE)


def open_store(root: str) -> Store:
    """The store at a path or URI: a local folder, or whatever `pyarrow.fs` opens.

    Raises: InputError.
    """
    scheme, mark, rest = root.partition("://")
    if mark and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        # A scheme is the same in any case (RFC 3986, 3.1): `S3://bucket` is not a folder `S3:`.
        root = f"{scheme.lower()}://{rest}"
    refuse_credentials("--corpus", root)
    return ObjectStore(root) if local_root(root) is None else LocalStore(root)


def open_corpus(root: str, *, create: bool = False) -> Store:
    """The store of an existing corpus, or of a new one with `create`.

    Raises: InputError for a missing corpus, a folder that is something else, or an unknown format.
    """
    store = open_store(root)
    try:
        document = store.read_json("corpus.json")
    except (FileNotFoundError, NotADirectoryError):
        if not create:
            raise InputError(
                f"--corpus {root}: no corpus there (corpus.json is missing); begin with `webtext crawl`"
            ) from None
        if store.files("") or store.folders(""):
            raise InputError(
                f"--corpus {root}: not a corpus (no corpus.json) and not empty; name an empty folder"
            ) from None

        document = {"format": FORMAT}
        try:
            store.write_json("corpus.json", document)
        except FatalError as error:
            raise InputError(f"--corpus {root}: {error}") from error
        if not store.is_local:
            warn_at_first_use(store)

    found = document.get("format") if isinstance(document, dict) else document
    if found != FORMAT:
        raise InputError(
            f"--corpus {root}: format {found!r}, this version reads {FORMAT}; use the version that made it, or another folder"
        )
    return store


def is_name(name: str) -> bool:
    """True if `check_name` accepts the name."""
    return bool(NAME.match(name)) and not name.endswith(".") and not DEVICES.match(name)


def check_name(option: str, name: str) -> str:
    """`name` of a batch, snapshot or run, if it can be a file name on every store.

    ASCII only, so that no two names look alike. Raises: InputError.
    """
    if not NAME.match(name) or name.endswith("."):
        raise InputError(
            f"{option} {name!r}: use letters, digits, '.', '_' and '-', at most 100, beginning with a letter or digit and not ending with '.'"
        )
    if DEVICES.match(name):
        raise InputError(
            f"{option} {name!r}: Windows reserves this name for a device; use another, such as 'b-{name}'"
        )
    return name


def table_dir(table: str, batch: str) -> str:
    """The folder of the committed parts and the manifest of one batch of `table`."""
    return f"{table}/{batch}"


def manifest_path(folder: str) -> str:
    """The manifest in a table's folder: its presence is the commit."""
    return f"{folder}/_manifest.json"


def work_dir(batch: str) -> str:
    """The folder of an unfinished batch: receipts, scratch tables and its lock."""
    return f"work/{batch}"
