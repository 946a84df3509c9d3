"""The corpus of an arm: unchanged tables as hard links to the original, later ones rebuilt.

An arm is a whole corpus below the output folder, so every command works on it. Files of a corpus
are replaced by renaming and never written in place, so a link keeps its bytes when the other name
is replaced or deleted. The original is only read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.config import Section, load_config, toml_value
from corpus.errors import InputError, Interrupted, StageError
from corpus.run import command
from corpus.snapshots.snapshot import write_revision
from corpus.storage.local import local_root
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest
from corpus.tables.schemas import TABLES
from webtext.ablate.arms import Arm
from webtext.settings import settings_model
from webtext.upkeep import rebuild

# What an arm has of its own from the start.
OWN_FOLDERS = {"ablate", "runs", "work", "reports", "refresh", "exports"}
# Written last, so an arm without it was never finished and is linked again.
LINKED = "ablate/linked.json"
BUILT = "ablate/built.json"
# Tables whose manifest has the settings of a stage.
SETTINGS_OF = {
    "clean": ("documents",),
    "dedup": ("signatures", "verdicts", "bands", "overlap"),
    "shards": ("tokens",),
}


def check_settings(arm: Arm, sets: Sequence[str]) -> None:
    """Check the settings of an arm, and those of all arms, before any work.

    Raises: InputError for a folder without a corpus; ConfigError for an unknown setting or value.
    """
    store = open_corpus(arm.corpus)
    settings = [*sets, *arm.sets]
    for stage in dict.fromkeys(each.partition(".")[0] for each in settings):
        _resolved(store, stage, settings)


def build(arm: Arm, root: Path, words: list[str], sets: list[str]) -> str:
    """Make the arm's corpus at `root`, or confirm it; the snapshot to train on.

    `words` and `sets` are options and settings for the stages of all arms. Raises: InputError if
    the original changed since the arm was started, StageError, Interrupted.
    """
    original = open_corpus(arm.corpus)
    if not original.is_local:
        raise InputError(
            f"arm {arm.name}: --corpus {arm.corpus} is in an object store, and tables can only be "
            "linked from a local folder; copy the corpus to a local disk and name that"
        )
    _link(original, arm, root)

    store = open_corpus(str(root))
    if store.exists(BUILT):
        return str(store.read_object(BUILT)["snapshot"])
    snapshot = arm.snapshot or _rebuild(store, arm, words, sets)
    store.write_json(BUILT, {"snapshot": snapshot})
    return snapshot


def _link(original: Store, arm: Arm, root: Path) -> None:
    """Link the original's files below `root`, once."""
    described = {"arm": arm.to_json(), "tables": fingerprints(original)}
    try:
        found = open_store(str(root)).read_object(LINKED)
    except (FileNotFoundError, NotADirectoryError):
        found = None

    if found is not None:
        changed = [key for key in described if found.get(key) != described[key]]
        if changed:
            raise InputError(
                f"{root}: arm {arm.name} was begun with other {' and '.join(changed)} than now; name "
                "a new folder with --to, or delete this one"
            )
        return

    if root.exists():
        shutil.rmtree(root)
    folder = local_root(original.root)
    assert folder is not None
    for path, _ in original.files("", recursive=True):
        if path.partition("/")[0] not in OWN_FOLDERS:
            _link_file(folder / path, root / path)
    if fingerprints(original) != described["tables"]:
        raise InputError(
            f"arm {arm.name}: {original.root} changed while it was linked; run the same command "
            "again when nothing else works on the corpus"
        )
    open_store(str(root)).write_json(LINKED, described)


def _link_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another disk, or a file system without hard links.
        shutil.copyfile(source, target)


def fingerprints(store: Store) -> dict[str, dict[str, str]]:
    """Fingerprints of all tables by batch: the inputs of an arm."""
    return {
        batch: {
            table: manifest.fingerprint
            for table in TABLES
            if (manifest := find_manifest(store, table, batch)) is not None
        }
        for batch in batch_names(store)
    }


def _rebuild(store: Store, arm: Arm, words: list[str], sets: list[str]) -> str:
    """Rebuild the tables changed by the arm's settings; return the name of a full snapshot."""
    names = batch_names(store)
    if arm.first_stage is not None:
        settings = [*settings_as_built(store, names[-1]), *sets, *arm.sets]
        _require_testsets(store, arm, settings)
        code = rebuild.main(
            [
                *("--corpus", store.root, "--from", arm.first_stage),
                *words,
                *(word for each in settings for word in ("--set", each)),
            ]
        )
        if code in (130, 143):
            raise Interrupted(code - 128)
        if code != 0:
            raise StageError(f"of arm {arm.name}", "rebuild", code)

    return write_revision(store, names[-1], names).name


def _require_testsets(store: Store, arm: Arm, settings: list[str]) -> None:
    """Refuse to rebuild without the test sets of the original's decontamination.

    Manifests know their bytes, not their paths, so they have to be named again.
    """
    verdicts = [find_manifest(store, "verdicts", batch) for batch in batch_names(store)]
    used = any(
        given.table == "testset" for manifest in verdicts if manifest for given in manifest.inputs
    )
    if not used or arm.first_stage == "shards":
        return

    config = _resolved(store, "dedup", settings)
    if not config.model_dump()["testsets"]:
        raise InputError(
            f"arm {arm.name}: the corpus was compared with test sets, and an arm has to be as well; "
            "name them with --set 'dedup.testsets=[\"FILE\", ...]'"
        )


def settings_as_built(store: Store, batch: str) -> list[str]:
    """Assignments giving the settings of a batch.

    They may have come from a command line, so they are read from the manifests. Values given by the
    corpus or the defaults are left out: bands follow a threshold, for example, and must be free to
    follow another one.
    """
    needed: list[str] = []
    for stage, tables in SETTINGS_OF.items():
        merged: dict[str, Any] = {}
        for table in tables:
            manifest = find_manifest(store, table, batch)
            merged.update(_flat(manifest.config, stage) if manifest else ())

        left = [f"{key}={toml_value(value)}" for key, value in merged.items()]
        built = _resolved(store, stage, left)
        for assignment in tuple(left):
            without = [each for each in left if each != assignment]
            if _resolved(store, stage, without) == built:
                left = without
        needed += left
    return needed


def _resolved(store: Store, stage: str, sets: list[str]) -> Section:
    """The effective settings of a stage."""
    toml = command.corpus_settings(store.root)
    model = settings_model(stage)
    return load_config(model, stage, corpus_toml=toml, sets=sets, environ=os.environ).effective()


def _flat(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{prefix}.{key}")
        elif each is not None:
            yield f"{prefix}.{key}", each
