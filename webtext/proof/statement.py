"""Write the proof of a snapshot: a signed root, and a short proof for each page asked for.

    webtext verify --corpus C --snapshot S --proof FOLDER --key KEY --about https://example.org/a

FOLDER gets statement.json (an in-toto statement with the root as its subject),
statement.json.minisig, inclusion-<id>-<n>.json for each page, and check_proof.py. This script
checks the others without the corpus and without this package.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from corpus.snapshots.retirement import retirement
from corpus.snapshots.snapshot import read_head
from corpus.storage.store import Store, open_store
from webtext import __version__
from webtext.proof import check_proof
from webtext.proof.leaves import encoded, leaves
from webtext.proof.merkle import MerkleTree, Watched
from webtext.proof.minisign import SigningKey

STATEMENT = "statement.json"
SIGNATURE = "statement.json.minisig"


@dataclass(frozen=True)
class Proof:
    """A proof as it was written."""

    root: str
    num_leaves: int
    files: list[str]


def write_proof(
    store: Store,
    snapshot: str,
    target: str,
    *,
    key: SigningKey | None = None,
    about: Mapping[str, str] | None = None,
) -> Proof:
    """Write the proof of a snapshot to the folder `target`, with those of pages.

    `about` has the pages by id, with the words in which each was asked for.

    Raises: InputError for an unknown or retired snapshot, and for a page in none of its batches.
    """
    head = read_head(store, snapshot)
    if retirement(store, snapshot) is not None:
        raise InputError(f"--snapshot {snapshot}: retired by a take-down; name a later one")

    tree, listed, about = MerkleTree(), [], about or {}
    for leaf in leaves(store, head):
        if "id" not in leaf:
            listed.append(leaf)
        tree.add(encoded(leaf), watch=leaf.get("id") in about)
    root, watched = tree.finish()
    found = {json.loads(each.leaf)["id"] for each in watched}
    if missing := sorted(set(about) - found):
        raise InputError(
            f"--about {about[missing[0]]}: in no batch of snapshot {snapshot}, or taken down; "
            "webtext explain says where it is"
        )

    folder = open_store(target)
    statement = json.dumps(_statement(head.name, root, tree.num_leaves, listed), indent=1).encode()
    written = {STATEMENT: statement + b"\n"}
    if key is not None:
        comment = f"root {root.hex()} snapshot {head.name}"
        written[SIGNATURE] = key.sign(written[STATEMENT], comment).encode()
    written |= _inclusions(watched, tree.num_leaves)
    written["check_proof.py"] = Path(check_proof.__file__).read_bytes()

    for name, data in written.items():
        folder.write_bytes(name, data)
    return Proof(root.hex(), tree.num_leaves, sorted(written))


def _statement(
    snapshot: str, root: bytes, num_leaves: int, listed: list[dict[str, Any]]
) -> dict[str, Any]:
    """An in-toto statement (v1) with provenance as SLSA 1 orders it."""
    dependencies = [
        {"name": f"{each['input']}:{each['name']}", "digest": {"fingerprint": each["digest"]}}
        for each in listed
        if each["kind"] == "input"
    ]
    chosen = [each for each in listed if each["kind"] in ("snapshot", "settings")]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": snapshot, "digest": {"sha256": root.hex()}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:webtext:snapshot:merkle-rfc6962:1",
                "externalParameters": {"leaves": num_leaves, "made_from": chosen},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": "urn:webtext", "version": {"webtext": __version__}},
                "byproducts": [each for each in listed if each["kind"] == "file"],
            },
        },
    }


def _inclusions(watched: Sequence[Watched], num_leaves: int) -> dict[str, bytes]:
    """A file for each leaf. A page cut into several texts has several."""
    files: dict[str, bytes] = {}
    of_page: Counter[str] = Counter()
    for each in watched:
        leaf = json.loads(each.leaf)
        proof = {"leaf": leaf, "index": each.index, "leaves": num_leaves, "path": each.path}
        name = f"inclusion-{leaf['id']}-{of_page[leaf['id']]}.json"
        files[name] = json.dumps(proof).encode() + b"\n"
        of_page[leaf["id"]] += 1
    return files
