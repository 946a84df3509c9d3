"""Asks again for the rights of stored pages, keeps the answers, and finds changes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_64_hexdigest

from corpus.errors import FatalError
from corpus.rights.policy import obeyed_signals
from corpus.rights.rows import read_signal, rights_counts
from corpus.rights.statements import ADDRESSED_TO_ALL, FILE, Answer, answer, refusals
from corpus.storage import lease
from corpus.storage.store import Store, work_dir
from corpus.tables.commit import commit_table
from corpus.tables.manifest import Manifest, Part, find_manifest
from corpus.tables.parquet import part_index, read_file, write_part
from corpus.tables.schemas import PAGES, RIGHTS
from corpus.tables.segments import warc_dir
from corpus.tables.takedown_list import Takedown, write_takedown
from corpus.urls import host_identity
from crawl.config import CrawlConfig
from crawl.fetch.jobs import locate
from crawl.outcomes import Reason, read_outcomes
from crawl.warc import records
from crawl.warc.import_step import CHECK_PREFIX
from webtext.takedown import command as forget
from webtext.takedown.copies import identities

log = logging.getLogger(__name__)

# Outcomes about rights; after others the page counts as not asked.
_ANSWERED = (Reason.RIGHTS_CHECKED.value, Reason.TRAINING_OPT_OUT.value)


class Change(NamedTuple):
    """A page with a changed answer."""

    batch: str
    doc_id: str
    url: str
    before: str
    now: str
    refused: str
    """The obeyed signals that say "no" now, joined by commas; empty for none."""

    def render(self) -> str:
        """One line."""
        by = f" ({self.refused})" if self.refused else ""
        return f"{self.url}  {self.before} -> {self.now}{by}"


class Checked(NamedTuple):
    """The result for one batch."""

    num_checked: int
    changes: list[Change]


def check_batch(
    store: Store, batch: str, config: CrawlConfig, before: datetime, *, pages: bool
) -> Checked:
    """Ask again for the rights of a batch's stored pages last asked before `before`."""
    with lease.hold(store, f"{work_dir(batch)}/lock.json", what="webtext.rights"):
        manifest = find_manifest(store, RIGHTS.name, batch)
        if manifest is None:
            log.warning(
                "batch %s has no table `rights`: it was fetched before there was one", batch
            )
            return Checked(0, [])

        old = {row["doc_id"]: row for row in _rows(store, manifest)}
        links = _links(store, batch, old, before, conditions=pages)
        if not links:
            return Checked(0, [])

        outcomes = _ask(store, batch, config, links, pages=pages)
        answered = [row for row in outcomes if row["reason"] in _ANSWERED]
        new = {row["doc_id"]: _merged(old[row["doc_id"]], row, config) for row in answered}
        _commit(store, manifest, {**old, **new})

    obeyed = config.rights.obeyed
    urls = {link["doc_id"]: link["url"] for link in links}
    changes = []
    for doc_id, row in sorted(new.items()):
        if row["training"] == old[doc_id]["training"]:
            continue
        refused = refusals(map(read_signal, row["signals"]), obeyed)
        was, now = old[doc_id]["training"], row["training"]
        changes.append(Change(batch, doc_id, urls[doc_id], was, now, ",".join(refused)))

    return Checked(len(answered), changes)


def apply_changes(store: Store, changes: Sequence[Change], config: CrawlConfig) -> str | None:
    """Take down the pages now saying "no", as `webtext forget` does; return the take-down's id.

    Copies elsewhere stay: they are other publishers' pages with answers of their own.
    """
    refused = [change for change in changes if change.refused]
    if not refused:
        return None

    signals = sorted({signal for change in refused for signal in change.refused.split(",")})
    batches = sorted({change.batch for change in refused})
    now = datetime.now(UTC)
    number = xxh3_64_hexdigest(json.dumps(sorted(each.doc_id for each in refused)).encode())[:8]
    record = Takedown(
        id=f"{now:%Y%m%dT%H%M%SZ}-{number}",
        asked=[change.doc_id for change in refused],
        when=now.isoformat(timespec="seconds"),
        url_keys=identities(store, [change.doc_id for change in refused], batches),
        why=f"training_opt_out: {', '.join(signals)} (webtext rights check)",
        keep_copies=True,
        opened=[],
    )
    with lease.hold(store, forget.LEASE, what="webtext.rights"):
        write_takedown(store, record)
        for each in forget.carry_out(store):
            print(forget.audit_line(each))
    return record.id


def _rows(store: Store, manifest: Manifest) -> list[dict[str, Any]]:
    folder = RIGHTS.folder(manifest.batch)
    tables = [read_file(store, f"{folder}/{part.file}") for part in manifest.parts]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return rows


def _links(
    store: Store, batch: str, old: dict[str, Any], before: datetime, *, conditions: bool
) -> list[dict[str, Any]]:
    """The stored pages to ask about, each with the address that answered."""
    manifest = find_manifest(store, PAGES.name, batch)
    columns = ["doc_id", "url", "final_url", "reason", "warc_file", "warc_offset", "warc_length"]
    found = []
    for part in manifest.parts if manifest is not None else ():
        table = read_file(store, f"{PAGES.folder(batch)}/{part.file}", columns)
        for row in table.filter(pc.is_null(table["reason"])).to_pylist():
            known = old.get(row["doc_id"])
            if known is None or known["checked_at"] > before:
                continue
            url = row["final_url"] or row["url"]
            site = locate(url)
            if site is None:
                continue
            link = {"doc_id": row["doc_id"], "url": url, "score": 0}
            link["domain"] = host_identity(site.host).domain
            link |= _conditions(store, row) if conditions else {}
            found.append(link)

    return found


def _conditions(store: Store, row: dict[str, Any]) -> dict[str, str]:
    """The headers of the stored response to repeat in a conditional request."""
    try:
        place = (row["warc_file"], row["warc_offset"], row["warc_length"])
        headers = records.read_response(store, *place).headers
    except records.WarcError:
        return {}
    given = {name.lower(): value for name, value in headers}
    return {"etag": given.get("etag", ""), "last_modified": given.get("last-modified", "")}


def _ask(
    store: Store, batch: str, config: CrawlConfig, links: list[dict[str, Any]], *, pages: bool
) -> list[dict[str, Any]]:
    """Ask in a process of its own, as each shard of a crawl does; the outcomes."""
    names = ["doc_id", "url", "domain", "score", *(["etag", "last_modified"] if pages else [])]
    table = pa.table({name: [link.get(name, "") for link in links] for name in names})
    table = table.set_column(3, "score", pa.array([0] * len(links), pa.int32()))
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"

    with tempfile.TemporaryDirectory(prefix="webtext-rights-") as folder:
        path = Path(folder) / "links.parquet"
        pq.write_table(table, path)
        spec = Path(folder) / "spec.json"
        document = {
            "corpus": store.root,
            "shard": 0,
            "links": str(path),
            "out_dir": str(Path(folder) / "out"),
            "warc_prefix": f"{warc_dir(batch)}{CHECK_PREFIX}{stamp}",
            "config": config.fetch.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "checks": "pages" if pages else "files",
        }
        spec.write_text(json.dumps(document))
        command = [sys.executable, "-m", "crawl.fetch.worker", str(spec)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise FatalError(
                f"batch {batch}: the check ended with exit code {done.returncode}: "
                f"{done.stderr.strip()[-500:]}; run it again"
            )
        rows: list[dict[str, Any]] = read_outcomes(Path(folder) / "out").to_pylist()
        return rows


def _merged(old: dict[str, Any], outcome: dict[str, Any], config: CrawlConfig) -> dict[str, Any]:
    """The present row: statements of files are new, those of the page are kept unless it was
    asked."""
    signals = list(outcome["signals"] or ())
    evidence = list(outcome["evidence"] or ())
    # A whole answer brings the page's own statements; a 304, or none, leaves them as they were.
    if outcome["status"] in (None, 304):
        signals += [each for each in old["signals"] if read_signal(each).place != FILE]
        evidence = list(dict.fromkeys([*evidence, *old["evidence"]]))

    obeyed = obeyed_signals(config.rights.policy)
    said = [read_signal(each) for each in signals]
    return {
        "doc_id": old["doc_id"],
        "training": Answer(answer(said, ADDRESSED_TO_ALL | obeyed)).value,
        "signals": signals,
        "evidence": evidence,
        "checked_at": outcome["checked_at"],
    }


def _commit(store: Store, manifest: Manifest, rows: dict[str, dict[str, Any]]) -> None:
    """Replace the rows of the table; its fingerprint stays, so nothing becomes stale."""
    folder = RIGHTS.folder(manifest.batch)
    generation = xxh3_64_hexdigest(json.dumps(sorted(rows.items()), default=str).encode())[:12]
    parts: list[Part] = []
    for part in manifest.parts:
        present = read_file(store, f"{folder}/{part.file}", ["doc_id"])["doc_id"].to_pylist()
        table = pa.Table.from_pylist([rows[doc_id] for doc_id in present], RIGHTS.schema)
        number = part_index(part.file)
        name = f"part-{number:05}.{generation}.parquet"
        parts.append(write_part(store, folder, name, RIGHTS, [table], number, manifest.num_parts))

    commit_table(
        store,
        RIGHTS,
        manifest.batch,
        parts,
        stage=manifest.stage,
        counts=rights_counts(pa.Table.from_pylist(list(rows.values()), RIGHTS.schema)),
        num_parts=manifest.num_parts,
        config=manifest.config,
        inputs=manifest.inputs,
        given_fingerprint=manifest.fingerprint,
        wall_s=manifest.wall_s,
        details={**manifest.details, "checked": datetime.now(UTC).isoformat(timespec="seconds")},
    )
