"""Fetch settings that are frozen when a batch first starts: shards, body limit and deadline.

Shards are fixed because each keeps its state, and its outcomes, under its number. There are many
more shards than workers, so joining workers take some and leaving ones give some.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from corpus.errors import InputError
from corpus.storage.store import Store, work_dir
from corpus.tables.manifest import find_manifest, read_manifest
from crawl.config import CrawlConfig
from crawl.fetch.settings import deadline_at

log = logging.getLogger(__name__)

# Fewer links than this are not worth a process of their own.
LINKS_PER_SHARD = 500
# More shards even the loads of 16 workers by less than 1 % (`bench.crawl.simulation`).
MOST_SHARDS = 1024
# Version of the state that workers keep: one journal per worker, since 2026-11-30.
LAYOUT = 2


def settled(
    config: CrawlConfig,
    store: Store,
    batch: str,
    *,
    slots: int,
    now: float,
    rebuild: bool = False,
    may_grow: bool = False,
) -> CrawlConfig:
    """Return `config` with the shards and the deadline of this batch.

    They are written at its first start; `now` in Unix seconds. `may_grow`: the executor may have
    more than `slots` later. Raises: InputError if an unfinished fetch was started with other
    settings, as its pages would be fetched again, or cannot be shared by workers in this store.
    """
    path = f"{work_dir(batch)}/crawl.fetch-terms/terms.json"
    pages = find_manifest(store, "pages", batch)
    terms: dict[str, Any] | None = None

    if not rebuild:
        try:
            terms = store.read_object(path)
        except FileNotFoundError:
            terms = None

    if terms is not None:
        _refuse_other(config, terms, store, batch)
        if pages is None and int(terms["shards"]) > 1 and (slots > 1 or may_grow):
            _refuse_several_workers(int(terms["shards"]), store, batch)
    else:
        terms = {
            "layout": LAYOUT,
            "shards": config.fetch.shards or _shards(store, batch),
            "max_body_bytes": config.fetch.max_body_bytes,
            "started_at": now,
        }
        if pages is not None:
            terms["shards"] = config.fetch.shards or pages.config["fetch_identity"]["shards"]
        if pages is None or rebuild:
            if not store.is_conditional:
                terms["shards"] = _only_shard(config, store)
            store.write_bytes(path, json.dumps(terms).encode())

    if pages is None or rebuild:
        store.write_bytes(_expected_path(batch), json.dumps({"workers": slots}).encode())

    deadline = deadline_at(config.fetch.deadline, float(terms["started_at"]))
    fetch = config.fetch.model_copy(
        update={
            "shards": int(terms["shards"]),
            "deadline": ""
            if deadline is None
            else datetime.fromtimestamp(deadline, UTC).isoformat(),
        }
    )

    return config.model_copy(update={"fetch": fetch})


def expected_workers(store: Store, batch: str) -> int:
    """Most simultaneous workers under the last start's executor; 1 if unknown."""
    try:
        return max(1, int(store.read_object(_expected_path(batch))["workers"]))
    except FileNotFoundError:
        return 1


def _expected_path(batch: str) -> str:
    return f"{work_dir(batch)}/crawl.fetch-terms/expected.json"


def _shards(store: Store, batch: str) -> int:
    num_links = read_manifest(store, "links", batch).rows
    return max(1, min(MOST_SHARDS, -(-num_links // LINKS_PER_SHARD)))


def _only_shard(config: CrawlConfig, store: Store) -> int:
    """One shard, and so one worker: without conditional writes, two could own the same shard.

    Raises: InputError if the settings ask for more.
    """
    if config.fetch.shards > 1:
        raise InputError(
            f"crawl.fetch.shards is {config.fetch.shards}, but {store.root} has no conditional "
            "writes, by which workers agree on their shards: leave the setting out, or use a store "
            "that passes `webtext doctor`"
        )

    log.warning("%s: no conditional writes, so one worker fetches the whole batch", store.root)
    return 1


def _refuse_several_workers(num_shards: int, store: Store, batch: str) -> None:
    """Raise InputError in a store without conditional writes, as after a move of the corpus."""
    if store.is_conditional:
        return
    raise InputError(
        f"the fetch of batch {batch!r} was begun with {num_shards} shards, and {store.root} has no "
        "conditional writes, by which workers agree on their shards: continue with --executor "
        "serial, whose one worker takes them all, or start again with --rebuild"
    )


def _refuse_other(config: CrawlConfig, terms: dict[str, Any], store: Store, batch: str) -> None:
    if terms.get("layout") != LAYOUT:
        raise InputError(
            f"the fetch of batch {batch!r} was begun by an older version, which kept its state in "
            "another way: finish it with that version, or fetch the batch again with --rebuild"
        )

    for name, given in (
        ("shards", config.fetch.shards),
        ("max_body_bytes", config.fetch.max_body_bytes),
    ):
        if given and given != terms[name]:
            raise InputError(
                f"crawl.fetch.{name} is {given}, but the fetch of batch {batch!r} was begun with {terms[name]}: "
                f"continue with --set crawl.fetch.{name}={terms[name]}, or start again with --rebuild"
            )
