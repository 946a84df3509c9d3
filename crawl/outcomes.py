"""The outcome of each link: a row of `pages`, written after its bytes are durable.

A worker writes WARC segments. The outcomes of a segment are written after it, in one file with the
same number, so a readable outcome always has a readable record. The links left are those without an
outcome. A segment without outcomes was left by a kill: it is removed, and its links are fetched
again. Files of many commits may be merged into one, named after its first and last commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.storage.interface import TEMPORARY
from corpus.storage.store import Store, open_store
from corpus.tables.schemas import PAGES, RIGHTS


class Reason(StrEnum):
    """The reason why a link has no stored page: null in `pages.reason` for a stored one.

    The list is closed.
    """

    BAD_URL = "bad_url"
    """Not an http(s) address."""
    PORT_REFUSED = "port_refused"
    ADDRESS_REFUSED = "address_refused"
    """Refused by the guard: not a public address, and not in an allowed network."""
    DOMAIN_CAP = "domain_cap"
    """More links of one domain than the config admits."""
    ROBOTS_DISALLOWED = "robots_disallowed"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    """robots.txt could not be read (5xx, 429, network): nothing is allowed (RFC 9309)."""
    TRAINING_OPT_OUT = "training_opt_out"
    """The site or the page says "no" to training; `cause` names the signals (`crawl.rights`)."""
    ROBOTS_TAG = "robots_tag"
    """A tag of `crawl.fetch.refuse_robots_tags`."""
    DNS_NOT_FOUND = "dns_not_found"
    """The host does not exist: all its links end at once."""
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    HOST_UNREACHABLE = "host_unreachable"
    """Given up after connect failures in a row."""
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    BAD_RESPONSE = "bad_response"
    """Not HTTP, or headers beyond the limits."""
    HTTP_STATUS = "http_status"
    """An answer without a page; `status` says which."""
    REDIRECT_LIMIT = "redirect_limit"
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_INVALID = "redirect_invalid"
    REDIRECT_EXCLUDED = "redirect_excluded"
    """It led to a page that the link rules leave out: Wikipedia, Reddit, media, files."""
    WRONG_TYPE = "wrong_type"
    """Neither HTML nor plain text."""
    BAD_ENCODING = "bad_encoding"
    """A content encoding that is unknown, broken, or one of too many."""
    DECOMPRESSION_BOMB = "decompression_bomb"
    EMPTY_BODY = "empty_body"
    IGNORED = "ignored"
    """Dropped by a Scrapy middleware of the operator's."""
    DEFERRED = "deferred"
    """Not fetched before the deadline of the batch."""
    NO_CAPTURE = "no_capture"
    """No capture fits, and its site is not asked (`crawl.fetch.archive = "only"`)."""
    CAPTURE_UNREADABLE = "capture_unreadable"
    """The archive has captures, but their records cannot be had or are not theirs."""
    HANDED_OVER = "handed_over"
    """It led to a domain of another shard, which continues it; never final in `pages`."""
    RIGHTS_CHECKED = "rights_checked"
    """Only its rights were asked for, by `webtext rights check`; never in `pages`."""
    INTERNAL_ERROR = "internal_error"
    """A bug of ours, which the log describes."""


# `pages.capture` of an answer of the page's own site.
LIVE = "live"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One row of `pages`; the fields are its columns."""

    doc_id: str
    url: str
    final_url: str | None = None
    """The address of the last request."""
    redirects: Sequence[str] = ()
    """Addresses that answered with a redirect, in order; begins with `url`."""
    status: int | None = None
    reason: Reason | None = None
    attempts: int = 0
    """Tries, of which the last decided; 0 when no request was made."""
    fetched_at: datetime | None = None
    ip: str | None = None
    content_type: str | None = None
    body_bytes: int | None = None
    """Decoded bytes."""
    payload_digest: str | None = None
    """`sha1:` and base32, over the payload as stored (still content-encoded)."""
    warc_file: str | None = None
    warc_offset: int | None = None
    warc_length: int | None = None
    truncated: bool = False
    cause: str | None = None
    """What made robots.txt unreachable: `tls_failed`, `timeout`, `status_503`, ...; the signals of a
    `training_opt_out`.
    """
    repairs: Sequence[str] | None = None
    """Deviations from HTTP that were repaired, as browsers do."""
    capture: str | None = LIVE
    """The archive that the page came from, or `live`."""
    captured_at: datetime | None = None
    original_record_id: str | None = None
    """The id that the record has in the archive."""
    training: str | None = None
    """The answer about training; None if the page was not asked about."""
    signals: Sequence[dict[str, str]] | None = None
    evidence: Sequence[str] | None = None
    checked_at: datetime | None = None
    says_itself: bool = False
    """True if the page's own record is evidence; not a column."""
    shard: int = 0
    """The shard whose link ended; a column of outcome files only."""


# A row of `pages` with that of `rights`, as far as there is one.
OUTCOME_SCHEMA = pa.schema(
    [
        *PAGES.schema,
        *(field.with_nullable(True) for field in RIGHTS.schema if field.name != "doc_id"),
    ]
)


# A row of a worker's outcome file.
STORED_SCHEMA = pa.schema([pa.field("shard", pa.int32(), nullable=False), *OUTCOME_SCHEMA])


def to_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """Rows of outcomes, in the given order. Schema: OUTCOME_SCHEMA."""
    names = [field.name for field in fields(Outcome) if field.name in OUTCOME_SCHEMA.names]
    columns = {name: [getattr(outcome, name) for outcome in outcomes] for name in names}
    return pa.table(
        [pa.array(columns[name], OUTCOME_SCHEMA.field(name).type) for name in OUTCOME_SCHEMA.names],
        OUTCOME_SCHEMA,
    )


def outcome_path(out_dir: Path, index: int) -> Path:
    """The file of commit `index` of a shard."""
    return out_dir / f"outcomes-{index:05d}.parquet"


def segment_path(warc_prefix: str, index: int) -> str:
    """The WARC segment of commit `index`, relative to the corpus root."""
    return f"{warc_prefix}-{index:05d}.warc.gz"


def write_outcomes(out_dir: Path, index: int, outcomes: Sequence[Outcome]) -> None:
    """Make the outcomes of commit `index` durable: all of them or none.

    Raises FatalError (disk).
    """
    path = outcome_path(out_dir, index)
    shards = pa.array([outcome.shard for outcome in outcomes], pa.int32())
    table = to_table(outcomes).add_column(0, STORED_SCHEMA.field(0), shards)
    with open_store(str(out_dir)).open_output(path.name) as stream:
        pq.write_table(table, stream, compression="zstd")


def commits_of(name: str) -> range:
    """Numbers of the commits in an outcome file, or of a segment: `outcomes-00000-00063`."""
    words = name.removesuffix(".parquet").removesuffix(".warc.gz").split("-")
    merged = len(words) > 2 and words[0] == "outcomes"
    return range(int(words[1 if merged else -1]), int(words[-1]) + 1)


def merge_outcomes(out_dir: Path, paths: Sequence[Path]) -> Path:
    """Merge consecutive outcome files into one; its path. The old ones remain."""
    first, last = commits_of(paths[0].name)[0], commits_of(paths[-1].name)[-1]
    table = pa.concat_tables(pq.read_table(path, schema=STORED_SCHEMA) for path in paths)
    path = out_dir / f"outcomes-{first:05d}-{last:05d}.parquet"
    with open_store(str(out_dir)).open_output(path.name) as stream:
        pq.write_table(table, stream, compression="zstd")
    return path


def outcome_files(out_dir: Path) -> list[Path]:
    """Committed outcome files of a worker, oldest first."""
    return [out_dir / name for name in whole([*map(_name, out_dir.glob("outcomes-[0-9]*"))])]


def whole(names: Iterable[str]) -> list[str]:
    """Names of outcome files in their order, without those merged into another one."""
    kept: list[str] = []
    for name in sorted(names, key=lambda name: (commits_of(name)[0], -commits_of(name)[-1])):
        if not kept or commits_of(name)[-1] > commits_of(kept[-1])[-1]:
            kept.append(name)
    return kept


def _name(path: Path) -> str:
    return path.name


def read_outcomes(out_dir: Path) -> pa.Table:
    """All committed outcomes of a shard. Schema: OUTCOME_SCHEMA.

    A link handed back by other shards has several rows.
    """
    tables = [pq.read_table(path, schema=OUTCOME_SCHEMA) for path in outcome_files(out_dir)]
    return pa.concat_tables(tables) if tables else OUTCOME_SCHEMA.empty_table()


def next_index(out_dir: Path, segments: Iterable[str]) -> int:
    """The first commit number used by neither outcomes nor a segment."""
    names = [path.name for path in outcome_files(out_dir)] + list(segments)
    return max((commits_of(name)[-1] for name in names), default=-1) + 1


def remove_orphans(store: Store, warc_prefix: str, out_dir: Path) -> list[str]:
    """Delete segments without committed outcomes; the paths of the others.

    Outcomes of commit i are written after segment i, so a kill may leave the segment alone.
    """
    return remove_uncommitted(store, warc_prefix, [path.name for path in outcome_files(out_dir)])


def remove_uncommitted(store: Store, warc_prefix: str, names: Iterable[str]) -> list[str]:
    """The same for a worker with outcome files of these names."""
    folder, _, stem = warc_prefix.rpartition("/")
    committed = {commit for name in names for commit in commits_of(name)}
    for leftover in _unfinished(store, folder, stem):
        leftover.unlink(missing_ok=True)
    kept = []

    for path, _ in store.files(folder):
        name = path.rpartition("/")[2]
        digits = name.removeprefix(stem + "-").removesuffix(".warc.gz")
        if not name.startswith(stem + "-") or not name.endswith(".warc.gz") or not digits.isdigit():
            continue
        if int(digits) in committed:
            kept.append(path)
        else:
            store.delete(path)

    return kept


def _unfinished(store: Store, folder: str, stem: str) -> list[Path]:
    """Temporary files of this shard's segments, left by a killed worker; a local corpus only."""
    local = store.local_path(folder)
    return sorted(local.glob(f"{TEMPORARY}{stem}-*")) if local is not None else []
