"""Decides if tables still belong together.

A table is current if every input it was built from is the committed one. The rule is transitive,
and fingerprints decide, not times: rebuilding an input with its old settings makes everything built
from it current again. A take-down keeps fingerprints, so removed rows make nothing stale. A batch
depends on earlier ones (their pages are not linked again, documents meet their index), so a rebuilt
earlier batch makes the later ones stale from the first table with it as an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from corpus.errors import StaleError
from corpus.storage.store import NAME, Store
from corpus.tables.manifest import (
    EXTRA_TABLES,
    OUTSIDE_INPUTS,
    SIBLINGS,
    STAGES,
    Manifest,
    batches,
    find_manifests,
    is_imported,
    remake_command,
    stage_of,
)
from corpus.tables.schemas import TABLES

# (table, batch).
Key = tuple[str, str]
Found = Mapping[Key, Manifest | None]
# How a reason ends when an input does not exist any more.
GONE = " is gone"


@dataclass(frozen=True, slots=True)
class Stale:
    """A committed but unusable table, and its first reason."""

    table: str
    batch: str
    why: str

    def __str__(self) -> str:
        return f"{self.table} of batch {self.batch!r} ({self.why})"


def read_lineage(store: Store, wanted: Iterable[Key]) -> dict[Key, Manifest | None]:
    """Read the manifests of `wanted` and of all their inputs, a generation at a time."""
    found: dict[Key, Manifest | None] = {}
    missing = {key for key in wanted if is_table(*key)}

    while missing:
        read = find_manifests(store, sorted(missing))
        found.update(read)
        needed = {
            (given.table, given.batch)
            for manifest in read.values()
            if manifest is not None
            for given in manifest.inputs
            if is_table(given.table, given.batch)
        }
        needed |= {(SIBLINGS[table], batch) for table, batch in read if table in SIBLINGS}
        missing = needed - found.keys()

    return found


def is_table(kind: str, batch: str) -> bool:
    """True for an input with a manifest; dumps, test sets and the like have none."""
    return kind not in OUTSIDE_INPUTS and NAME.match(batch) is not None


def find_stale(found: Found, tokenizer: str | None) -> list[Stale]:
    """The stale tables among `found`, inputs before outputs.

    `tokenizer` is the fingerprint of the pinned one. Tables missing from `found` count as deleted.
    """
    reasons: dict[Key, str] = {}

    for key in _inputs_first(found):
        manifest = found[key]
        if manifest is not None:
            reasons[key] = _reason(manifest, found, reasons, tokenizer)

    return [Stale(*key, why) for key, why in reasons.items() if why]


def stale_among(store: Store, wanted: Iterable[Key]) -> list[Stale]:
    """The stale tables among `wanted` and all their inputs, inputs first."""
    return find_stale(read_lineage(store, wanted), pinned_tokenizer(store))


def require_current(store: Store, wanted: Iterable[Key], purpose: str) -> None:
    """Refuse to use a stale table. Tables without a manifest pass: they have messages of their own.

    Raises: StaleError with each table, the input rebuilt since, and the commands in order.
    """
    keys = list(wanted)
    stale = stale_among(store, keys)
    if not stale:
        return

    direct = [each for each in stale if not each.why.endswith(_STALE)] or stale
    shown = "; ".join(str(each) for each in direct[:3]) + ("; ..." if len(direct) > 3 else "")
    raise StaleError(
        f"{store.root}: {purpose} would use stale tables: {shown}. "
        f"Run {remedy(store, stale)}, each with your settings, then this command again (with "
        "--rebuild "
        f"if it asks for it). Or run the whole chain: {suggestion(store, stale)}"
    )


def suggestion(store: Store, stale: Iterable[Stale]) -> str:
    """The one command for rebuilding stale tables and everything after them."""
    present = {stage_of(each.table) for each in stale}
    first = next((stage for stage in STAGES if stage in present), STAGES[0])
    files = " --files FILE ..." if first == "crawl" else ""
    return f"`webtext rebuild --corpus {store.root} --from {first}{files}`"


def remedy(store: Store, stale: Iterable[Stale]) -> str:
    """The commands for rebuilding stale tables: batches and stages in order."""
    links = batches(store, "links")
    order = [manifest.batch for manifest in links]
    imported = {manifest.batch for manifest in links if is_imported(manifest)}
    pairs = {(each.batch, stage_of(each.table)) for each in stale}

    def place(pair: tuple[str, str]) -> tuple[int, str, int]:
        batch, stage = pair
        return (
            order.index(batch) if batch in order else len(order),
            batch,
            STAGES.index(stage) if stage in STAGES else len(STAGES),
        )

    commands = [
        f"`{remake_command(store.root, stage, batch, imported=batch in imported)}`"
        for batch, stage in sorted(pairs, key=place)
    ]

    return ", then ".join(commands)


def pinned_tokenizer(store: Store) -> str | None:
    """Fingerprint of the corpus' tokenizer, or None before one is pinned."""
    try:
        return str(store.read_object("tokenizer/source.json")["fingerprint"])
    except (FileNotFoundError, KeyError, TypeError):
        return None


# How a reason ends when the input itself is the committed one, but may not be used.
_STALE = " is stale"


def _inputs_first(found: Found) -> Iterator[Key]:
    """Sort every table after its inputs. Iterative: a hundred batches are a long chain."""
    done: set[Key] = set()
    entered: set[Key] = set()

    for first in found:
        stack = [first]
        while stack:
            key = stack[-1]
            manifest = found.get(key)
            if key in done or manifest is None:
                done.add(key)
                stack.pop()
                continue
            if key in entered:
                done.add(key)
                stack.pop()
                yield key
                continue
            entered.add(key)
            inputs = ((given.table, given.batch) for given in manifest.inputs)
            stack.extend(each for each in inputs if each in found and each not in entered)


def _reason(
    manifest: Manifest, found: Found, reasons: Mapping[Key, str], tokenizer: str | None
) -> str:
    """The reason of a stale table; empty if it is current."""
    for given in manifest.inputs:
        key = (given.table, given.batch)
        present = found.get(key)

        if given.table == "tokenizer":
            if tokenizer is not None and given.fingerprint != tokenizer:
                return "the tokenizer changed"
        elif present is None:
            # Inputs of other kinds (dumps, test sets, models) have no manifest to be compared with.
            if given.table in TABLES or given.table in EXTRA_TABLES:
                return f"{given.table} {given.batch}{GONE}"
        elif present.fingerprint != given.fingerprint:
            return f"{given.table} {given.batch} was rebuilt since"
        elif reasons.get(key):
            return f"{given.table} {given.batch}{_STALE}"

    sibling = found.get((SIBLINGS.get(manifest.table, ""), manifest.batch))
    if sibling is not None and _halfway(manifest, sibling):
        return f"{sibling.table} {sibling.batch} is of another run: a rebuild was interrupted"

    return ""


def _halfway(manifest: Manifest, sibling: Manifest) -> bool:
    """True if a run replaced only one of a step's two tables."""
    step = manifest.details.get("step")
    return (
        step is not None
        and step == sibling.details.get("step")
        and manifest.fingerprint != sibling.fingerprint
    )
