"""Limits at their own values, written down again with what each bounds or where it is from.

Other tests set limits of their own or stay far away from them, so a limit that grows sixteen-fold by
accident would pass. A limit that changes on purpose changes here as well.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from corpus.config import STAGES, Section, describe
from webtext.settings import settings_model

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DEFAULTS = Path(__file__).parent / "fixtures" / "defaults.txt"
RANGES = Path(__file__).parent / "fixtures" / "ranges.txt"

TABLE: tuple[tuple[str, str, float, str], ...] = (
    ("corpus.tables.parquet", "MAX_UNPACKED_BYTES", GIB, "bytes of a row group, unpacked"),
    ("corpus.tables.parquet", "MAX_UNPACKED_RATIO", 100, "unpacked bytes of a file by its size"),
    ("corpus.tables.parquet", "MIN_SLICE_ROWS", 16, "rows that are decoded at once, at least"),
    ("corpus.evaluation_sets.files", "MAX_UNPACKED_BYTES", GIB, "bytes of a test set, unpacked"),
    ("corpus.evaluation_sets.files", "MAX_ENTRY_CHARS", 128 * MIB, "characters of an entry"),
    ("corpus.evaluation_sets.files", "TEST_PART_BYTES", 5_000_000, "the common split of enwik8: 90, 5 and 5 MB"),
    ("corpus.storage.interface", "MAX_KEY_BYTES", 1024, "keys of S3"),
    ("corpus.storage.interface", "MAX_SEGMENT_BYTES", 200, "a name of 255 bytes in ext4, less endings of ours"),
    ("corpus.storage.lease", "HEARTBEAT_S", 10, "nine beats before a lease is stale"),
    ("corpus.storage.lease", "STALE_S", 90, "nine missed beats"),
    ("corpus.storage.lease", "WATCH_S", 12, "one beat and a little"),
    ("corpus.storage.lease", "SETTLE_S", 2, "two writers that both saw a stale lease"),
    ("corpus.storage.conditional_write", "TIMEOUT_S", 20, "one request"),
    ("corpus.storage.conditional_write", "RETRY_WITHIN_S", 60, "all tries of one request"),
    ("corpus.storage.self_test", "MOST_SKEW_S", 45, "half of a stale lease"),
    ("corpus.run.metrics", "WRITE_EVERY_S", 10, "docs/settings.md, run.metrics_file"),
    ("shards.tokenizer.encode", "RENEW_BYTES", 512 * MIB, "docs/decisions/0103: bytes of text"),
    ("crawl.warc.records", "MAX_BODY_BYTES", 32 * MIB, "twice the largest body that settings allow"),
    ("crawl.warc.records", "MAX_RECORD_BYTES", 32 * MIB, "the same as it is stored"),
    ("crawl.warc.body", "RATIO_FREE_BYTES", MIB, "small bodies may have any ratio"),
    ("crawl.warc.body", "FEED_BYTES", 4096, "packed bytes between two looks at the ratio"),
    ("crawl.warc.body", "SNIFF_BYTES", 512, "bytes that tell a kind of file"),
    ("crawl.warc.codings", "ZSTD_WINDOW_BYTES", 8 * MIB, "RFC 9659 for content coding"),
    ("crawl.warc.codings", "STEP_BYTES", 64 * KIB, "growth between two looks at the ratio"),
    ("crawl.fetch.settings", "MAX_RATIO", 100, "unpacked bytes of a body by packed ones"),
    ("crawl.fetch.settings", "MAX_ENCODINGS", 2, "content codings of one answer"),
    ("crawl.fetch.settings", "LARGEST_BODY_BYTES", 16 * MIB, "bytes that a setting may ask for"),
    ("crawl.fetch.settings", "MAX_RETRY_DELAY_S", 900, "seconds between tries that a setting may ask for"),
    ("crawl.fetch.answers", "MAX_REFRESH_S", 5, "a longer refresh is not a redirect"),
    ("crawl.fetch.dispatcher", "MAX_LOOKUPS", 256, "names in the air"),
    ("crawl.fetch.dispatcher", "MAX_FLOODS", 3, "floods of one host"),
    ("crawl.fetch.dispatcher", "HOST_CPU_S", 10, "processor time of one host"),
    ("crawl.fetch.network.body_budget", "ALL_BODIES_BYTES", 24 * MIB, "all bodies in flight"),
    ("crawl.fetch.network.resolver", "NUM_THREADS", 128, "look-ups that hang together"),
    ("crawl.fetch.network.resolver", "DNS_CACHE_S", 300, "seconds that an address is kept"),
    ("crawl.fetch.network.wire", "MAX_HEAD_BYTES", 64 * KIB, "bytes before a body"),
    ("crawl.fetch.network.wire", "MAX_INTERIM", 32, "interim answers"),
    ("crawl.fetch.network.wire", "MAX_FRAMING_BYTES", 64 * KIB, "chunk framing beyond the ratio"),
    ("crawl.fetch.network.wire", "MAX_FRAMING_RATIO", 1, "framing as long as the body"),
    ("crawl.fetch.network.wire", "MAX_CHUNKS", 4096, "chunks of any size"),
    ("crawl.fetch.network.wire", "LEAST_CHUNK_BYTES", 16, "bytes of the chunks beyond"),
    ("crawl.fetch.permission.robots", "MAX_PARSED_BYTES", 500 * KIB, "RFC 9309, 2.5: at least"),
    ("crawl.fetch.permission.robots", "MAX_REDIRECTS", 5, "RFC 9309, 2.3.1.2: at least"),
    ("crawl.fetch.permission.robots_cache", "ROBOTS_CACHE_BYTES", 32 * MIB, "rules in memory"),
    ("crawl.fetch.permission.rights_files", "MAX_KEPT_BYTES", 32 * MIB, "statements in memory"),
    ("crawl.fetch.permission.rights_files", "MAX_FILE_BYTES", MIB, "one licence file"),
    ("crawl.rights.page", "MAX_SCANNED_BYTES", MIB, "the head of a page"),
    ("crawl.captures.client", "MAX_BYTES", 64 * MIB, "one answer of an archive"),
    ("crawl.captures.local", "PIECE_BYTES", 16 * MIB, "a line of an index, or one answer in an array"),
    ("crawl.captures.local", "MAX_INDEX_BYTES", 4 * GIB, "docs/security.md: an index, unpacked"),
    ("crawl.captures.local", "MAX_CAPTURES", 4_000_000, "docs/security.md: 0.7 KB of memory each"),
    ("crawl.captures.client", "MAX_REDIRECTS", 5, "hops within an archive"),
    ("crawl.links.containers", "MAX_WINDOW_BYTES", 2 * GIB, "the dumps are packed with --long=31"),
    ("crawl.links.xz_blocks", "XZ_MEMORY_BYTES", GIB, "memory of an xz dump"),
    ("crawl.links.rows", "MAX_ROW_BYTES", 16 * MIB, "bytes of a line of a dump"),
    ("clean.page_source.embedded", "MAX_JSON_CHARS", 4_000_000, "data of a page"),
    ("clean.page_source.embedded", "MAX_DEPTH", 60, "nesting of JSON in a page"),
    ("clean.learned.layout", "MAX_DEPTH", 256, "elements within each other"),
    ("clean.learned.layout", "MAX_BLOCKS", 200_000, "blocks of a page"),
    ("clean.page_source.metadata", "HEAD_CHARS", 200_000, "the head of a page"),
    ("clean.page_source.metadata", "MAX_TITLE_CHARS", 500, "a title"),
    ("train.checkpoints.tensor_files", "MAX_INDEX_BYTES", 256 * MIB, "an index of a checkpoint"),
    ("shards.stream.tokens", "DECODED_BYTES", GIB, "row groups in memory"),
    ("shards.stream.cache", "LIMIT_BYTES", 16 * GIB, "copies of remote files on a disk"),
    ("webtext.inspection.query", "MAX_ROWS", 1000, "rows in a terminal"),
    ("webtext.inspection.query", "MAX_CELL_CHARS", 80, "a cell in a terminal"),
    ("webtext.look.text_marks", "TOKENS_SHOWN", 2000, "tokens of a document in the browser"),
    ("webtext.look.text_marks", "DIFF_WORDS", 3000, "words that are compared with each other"),
    ("webtext.look.app", "MAX_FORM_BYTES", 4096, "an answer of a reviewer"),
    ("webtext.upkeep.hooks", "HOOK_TIMEOUT_S", 30, "one webhook"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name", "value", "reason"), TABLE, ids=[f"{row[0]}.{row[1]}" for row in TABLE]
)
def test_a_limit_is_what_it_was_chosen_to_be(
    module: str, name: str, value: float, reason: str
) -> None:
    assert getattr(importlib.import_module(module), name) == value, reason


def test_defaults_are_written_down_again() -> None:
    """`docs/settings.md` is made from the code. This list is not, so an accident shows.

    A default that changes on purpose changes the list by hand. New settings join it now and then.
    """
    found = {
        key: default
        for stage in STAGES
        for key, default, _ in describe(settings_model(stage), stage)
    }
    expected = dict(line.split(" = ", 1) for line in DEFAULTS.read_text("utf-8").splitlines())
    common = found.keys() & expected.keys()
    assert {key: found[key] for key in common} == {key: expected[key] for key in common}
    assert len(common) > 0.9 * len(found)


def fields_below(model: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields_below(field.annotation, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", field


def takes(field: FieldInfo, value: float) -> bool:
    """True if a setting may have a value, by itself."""
    try:
        TypeAdapter(Annotated[field.annotation, *field.metadata]).validate_python(value)
    except ValidationError:
        return False
    return True


def stepped(field: FieldInfo, value: float, towards: float) -> Any:
    """The next value that the setting could have: one more or less, or the next fraction."""
    if "float" in str(field.annotation):
        return math.nextafter(value, towards)
    return int(value) + (1 if towards > value else -1)


def test_ranges_of_settings_end_where_it_is_written_down() -> None:
    """Each end is taken or refused as its bracket says, and the next value on either side of it."""
    fields = dict(each for stage in STAGES for each in fields_below(settings_model(stage), stage))
    wrong = []
    for line in RANGES.read_text("utf-8").splitlines():
        key, written = line.split(" = ")
        field = fields.pop(key)
        least, most = map(float, written[1:-1].split(", "))
        for end, bracket, outside in (
            (least, written[0], -math.inf),
            (most, written[-1], math.inf),
        ):
            if math.isinf(end):
                continue
            value = end if "float" in str(field.annotation) else int(end)
            around = [stepped(field, value, outside), value, stepped(field, value, -outside)]
            found = [takes(field, each) for each in around]
            if found != [False, bracket in "[]", True]:
                wrong.append(f"{line}: {around} {found}")

    assert wrong == []
    others = [(key, field) for key, field in fields.items() if field.metadata]
    assert [key for key, field in others if takes(field, 1) and not takes(field, -1)] == []
