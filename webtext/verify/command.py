"""Verifies a corpus: digests, invariants and joins of everything, or of a sample.

    webtext verify --corpus C [--batch B ...] [--sample 0.05] [--json]

Checked are: the seals of manifests, take-downs and retired snapshots; the tokenizer; bytes and
digest of every file in a manifest or snapshot; every WARC record with its checksums, and its row in
`pages`; conservation; order, part and joins of ids in all tables; the kept page behind every
duplicate; spans over all tokens of a file. Each problem is printed on a line, and the exit code
is 1.

    webtext verify --corpus C --snapshot S --proof FOLDER --key KEY --about URL

writes a signed Merkle root over the snapshot's sources, settings, files and pages, and a proof for
each page that is asked about. Anybody checks both without the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from corpus.errors import InputError, SchemaError, WebtextError
from corpus.run import command
from corpus.run.funnel import size
from corpus.snapshots.retirement import retirement
from corpus.snapshots.snapshot import read_head, read_snapshot, snapshots
from corpus.storage import lease
from corpus.storage.interface import is_leftover
from corpus.storage.store import Store, open_corpus, table_dir, work_dir
from corpus.tables.inventory import batch_names, entries
from corpus.tables.manifest import EXTRA_TABLES, Manifest, batches, find_manifest, record_seal
from corpus.tables.mentions import COLUMNS
from corpus.tables.parquet import iter_tables
from corpus.tables.schemas import TABLES
from corpus.tables.segments import SEGMENTS, is_segment, segment_files
from corpus.tables.staleness import pinned_tokenizer
from corpus.tables.takedown_list import FOLDER, takedowns, together
from webtext.inspection.explain import page_id
from webtext.proof.minisign import make_key, read_key
from webtext.proof.statement import write_proof
from webtext.stages import needing
from webtext.verify import checks as integrity
from webtext.verify.lost_pages import lost_page_problems

TOKENIZER = "tokenizer/tokenizer.json"
Check = Callable[[], list[str]]
WARC_COLUMNS = (
    "doc_id",
    "final_url",
    "reason",
    "payload_digest",
    "warc_file",
    "warc_offset",
    "warc_length",
)


@dataclass(slots=True)
class Findings:
    """The result of a verification."""

    problems: list[str] = field(default_factory=list)
    num_checks: int = 0
    num_files: int = 0
    num_bytes: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.verify")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    if args.proof or args.new_key or args.about or args.key:
        return _prove(store, args)

    findings = verify(store, args.batch, sample=args.sample, seed=args.seed, workers=args.workers)
    for problem in findings.problems:
        print(problem)
    share = "" if args.sample == 1 else f" (a sample of {100 * args.sample:g}%)"
    verdict = (
        f"{len(findings.problems)} problems"
        if findings.problems
        else "everything as it was written"
    )
    print(
        f"{findings.num_checks:,} checks, {findings.num_files:,} files, {size(findings.num_bytes)}{share}: {verdict}"
    )

    if args.json:
        print(
            json.dumps(
                {
                    "corpus": store.root,
                    "problems": findings.problems,
                    "files": findings.num_files,
                    "bytes": findings.num_bytes,
                }
            )
        )

    return 1 if findings.problems else 0


def _prove(store: Store, args: argparse.Namespace) -> int:
    """Write the proof of a snapshot instead of checking."""
    if not args.proof or not args.snapshot:
        raise InputError("--key, --new-key, --about and --proof FOLDER belong to --snapshot S")
    about = {}
    for asked in args.about:
        doc_id = page_id(asked)
        if doc_id is None:
            raise InputError(f"--about {asked}: an address that can be no page")
        about[doc_id] = asked

    key = None
    if args.new_key:
        key = make_key(Path(args.new_key))
        public = f"{args.new_key}.pub"
        Path(public).write_text(key.public_file(), "ascii")
        print(f"{args.new_key}: keep it secret; publish {public}")
    elif args.key:
        key = read_key(Path(args.key))

    proof = write_proof(store, args.snapshot, args.proof, key=key, about=about)
    signed = "signed" if key else "not signed: add --key"
    print(f"{args.proof}: root {proof.root} over {proof.num_leaves:,} leaves, {signed}")
    for name in proof.files:
        print(f"  {name}")
    if args.json:
        print(json.dumps({"root": proof.root, "leaves": proof.num_leaves, "files": proof.files}))
    return 0


def verify(
    store: Store,
    names: Sequence[str] | None = None,
    *,
    sample: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
) -> Findings:
    """Check batches (all without `names`) and, with all of them, the snapshots.

    Raises InputError for an unknown batch.
    """
    findings = Findings()
    try:
        present = batch_names(store)
    except SchemaError as error:
        findings.problems.append(str(error))
        present = sorted({name for table in TABLES for name in store.folders(table)})

    if unknown := set(names or ()) - set(present):
        raise InputError(
            f"{store.root}: no batch {sorted(unknown)}; present: {', '.join(present) or 'none'}"
        )

    drawn = _Sample(sample, seed)
    checks: list[Check] = []
    for batch in names or present:
        checks += _batch_checks(store, batch, present, drawn, findings)
    checks.append(partial(_stale_problems, store, names))
    if not names:
        damage: dict[str, list[str]] = {}
        checks += [partial(_snapshot_problems, store, n, damage) for n in snapshots(store)]
        checks += [partial(_tokenizer_problems, store), partial(_record_problems, store)]

    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        for found in pool.map(_run, checks):
            findings.problems += found

    findings.problems = list(dict.fromkeys(findings.problems))
    findings.num_checks = len(checks)
    return findings


class _Sample:
    """Draws the same things every time for one seed; at least the first of every kind."""

    def __init__(self, fraction: float, seed: int) -> None:
        self.fraction, self.seed = fraction, seed

    def takes(self, kind: str, name: str, number: int) -> bool:
        drawn = xxh3_64_intdigest(f"{self.seed} {kind} {name}".encode()) / 2**64
        return number == 0 or drawn < self.fraction


def _run(check: Check) -> list[str]:
    try:
        return check()
    except (WebtextError, OSError) as error:
        return [str(error)]


def _batch_checks(
    store: Store, batch: str, order: Sequence[str], drawn: _Sample, findings: Findings
) -> Iterator[Check]:
    manifests = []
    for table in (*TABLES, *EXTRA_TABLES):
        try:
            manifests += [each for each in [find_manifest(store, table, batch)] if each is not None]
        except SchemaError as error:
            findings.problems.append(str(error))

    for manifest in manifests:
        findings.problems += integrity.seal_problems(manifest)
        for number, part in enumerate(manifest.parts):
            if drawn.takes(manifest.table, part.file, number):
                findings.num_files += 1
                findings.num_bytes += part.bytes
                yield partial(integrity.file_problems, store, manifest, number)
                if manifest.table in COLUMNS:
                    yield partial(integrity.mention_problems, store, manifest, number)

    yield partial(integrity.conservation_problems, store, batch)
    yield partial(lost_page_problems, store, batch)
    yield partial(_leftover_problems, store, batch)
    num_parts = max(
        (m.num_parts for m in manifests if m.table in ("links", "documents")), default=0
    )
    for number in range(num_parts):
        if drawn.takes("rows", batch, number):
            yield partial(integrity.part_problems, store, batch, number)

    tables = {manifest.table for manifest in manifests}
    if "verdicts" in tables:
        earlier = order[: order.index(batch)]
        yield partial(_duplicate_problems, store, batch, earlier)

    if {"verdicts", "bands"} <= tables:
        yield partial(integrity.band_problems, store, batch)
    for manifest in manifests:
        if manifest.table == "pages":
            yield from _segment_checks(store, manifest, drawn, findings)


def _segment_checks(
    store: Store, pages: Manifest, drawn: _Sample, findings: Findings
) -> Iterator[Check]:
    sizes = dict(segment_files(store, pages.batch))
    try:
        rows = _rows_by_segment(store, pages)
    except (SchemaError, OSError):
        return  # the digest of that part says so already

    with needing("crawl"):
        from crawl.warc.verify import segment_problems
    for number, path in enumerate(sorted(sizes.keys() | rows.keys())):
        if not is_segment(path, pages.batch):
            findings.num_files += 1
            yield partial(_not_a_segment, pages.batch, path)
        elif drawn.takes("warc", path, number):
            findings.num_files += 1
            findings.num_bytes += sizes.get(path, 0)
            yield partial(_segment_problems, segment_problems, store, path, rows.get(path))


def _not_a_segment(batch: str, path: str) -> list[str]:
    return [f"pages/{batch}: a row names {path!r}, which is not a WARC segment of the batch"]


def _segment_problems(
    problems: Callable[[Store, str, list[dict[str, Any]]], list[str]],
    store: Store,
    path: str,
    rows: pa.Table | None,
) -> list[str]:
    # Rows become objects here, a segment at a time: all of a batch would take gigabytes.
    return problems(store, path, rows.to_pylist() if rows is not None else [])


def _duplicate_problems(store: Store, batch: str, earlier: Sequence[str]) -> list[str]:
    gone = sorted(together(takedowns(store)).doc_ids)
    return integrity.duplicate_problems(store, batch, earlier, gone)


def _rows_by_segment(store: Store, pages: Manifest) -> dict[str, pa.Table]:
    """The rows of `pages` for each segment, as slices of one table."""
    pieces = [
        piece.filter(pc.is_null(piece["reason"]))
        for part in pages.parts
        for piece in iter_tables(
            store, f"{table_dir('pages', pages.batch)}/{part.file}", WARC_COLUMNS
        )
    ]
    if not pieces:
        return {}

    table = pa.concat_tables(pieces).sort_by("warc_file").combine_chunks()
    found, start = {}, 0
    for entry in table["warc_file"].value_counts().to_pylist():
        found[str(entry["values"])] = table.slice(start, entry["counts"])
        start += entry["counts"]

    return found


def _tokenizer_problems(store: Store) -> list[str]:
    """Problems of the tokenizer: missing, or another one than that of some tokens."""
    named = {
        given.fingerprint: f"tokens/{manifest.batch}"
        for manifest in batches(store, "tokens")
        for given in manifest.inputs
        if given.table == "tokenizer"
    }
    # A run killed while pinning a tokenizer leaves its record alone.
    if not store.exists(TOKENIZER):
        return [f"{TOKENIZER}: missing"] if named else []

    pinned = pinned_tokenizer(store)
    if pinned is not None:
        named.setdefault(pinned, "tokenizer/source.json")
    if not named:
        return []

    with needing("shards"):
        from shards.tokenizer.encode import load_tokenizer
    found = load_tokenizer(store).fingerprint

    return [
        f"{TOKENIZER}: fingerprint {found}, {where} has {expected}"
        for expected, where in named.items()
        if expected != found
    ]


def _record_problems(store: Store) -> list[str]:
    """Damaged records of take-downs and retired snapshots."""
    found = []
    for path, _ in [*store.files(FOLDER), *store.files("snapshots/retired")]:
        try:
            data = store.read_object(path)
        except InputError as error:
            found.append(str(error))
            continue
        if data.get("seal") and record_seal(data) != data["seal"]:
            found.append(f"{path}: not as it was written (its seal differs)")

    return found


def _stale_problems(store: Store, names: Sequence[str] | None) -> list[str]:
    """Tables of the chosen batches with inputs rebuilt since."""
    return [
        f"{entry.table} {entry.batch}: stale: {entry.why}"
        for entry in entries(store)
        if entry.state == "stale" and (not names or entry.batch in names)
    ]


def _leftover_problems(store: Store, batch: str) -> list[str]:
    """Temporary files of killed workers, unless they belong to an active or resumable run."""
    if store.folders(work_dir(batch)) or lease.owner(store, f"{work_dir(batch)}/lock.json"):
        return []
    return [
        f"{path}: left over by a killed run, may hold rows that were taken down; "
        "`webtext prune --delete` removes it"
        for table in (*TABLES, *EXTRA_TABLES, SEGMENTS)
        for path, _ in store.files(table_dir(table, batch), recursive=True, leftovers=True)
        if is_leftover(path)
    ]


def _snapshot_problems(store: Store, name: str, damage: dict[str, list[str]]) -> list[str]:
    """Problems of a snapshot. `damage` has those of each list of files, read once."""
    head = read_head(store, name)
    if retirement(store, name) is not None:
        # Its files may be gone: that is what it means.
        read_snapshot(store, name)
        return []

    new = [each for each in head.batches if each.files not in damage]
    snapshot = read_snapshot(store, name, [each.batch for each in new])
    for each in new:
        damage[each.files] = integrity.pinned_damage(store, snapshot, each.batch)
    return [f"snapshot {name}: {line}" for each in head.batches for line in damage[each.files]]


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.verify", __doc__ or "")
    parser.add_argument(
        "--batch",
        action="append",
        metavar="B",
        help="only this batch; may be repeated (default: all)",
    )
    parser.add_argument(
        "--sample",
        type=_fraction,
        default=1.0,
        metavar="F",
        help="share of files, parts and segments, 0..1 (default: 1, everything)",
    )
    proof = parser.add_argument_group("proof of a snapshot, instead of checks")
    proof.add_argument("--proof", metavar="FOLDER", help="write a signed Merkle root to FOLDER")
    proof.add_argument("--snapshot", metavar="S", help="the snapshot to prove")
    proof.add_argument(
        "--about",
        action="append",
        default=[],
        metavar="URL-or-doc_id",
        help="also prove what became of this page; may be repeated",
    )
    signing = proof.add_mutually_exclusive_group()
    signing.add_argument("--key", metavar="FILE", help="sign with this secret key of minisign")
    signing.add_argument(
        "--new-key", metavar="FILE", help="make such a key, and FILE.pub, and sign with it"
    )
    parser.add_argument("--seed", type=int, default=0, help="which sample (default: 0)")
    parser.add_argument(
        "--workers",
        type=command.positive,
        metavar="N",
        help="checks at the same time (default: one per core)",
    )

    return parser


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and at most 1")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
