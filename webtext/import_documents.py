"""Imports text documents (FineWeb, books, another crawl) as a batch like any other.

Each document becomes a stored text/plain response under its address in the corpus's WARC files,
like those of an imported crawl. So `links`, `pages` and `documents` conserve rows as always, the
batch can be cleaned again without its source files, and identity, language, rules, deduplication,
overlap and take-downs apply unchanged.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from uuid import UUID

import pyarrow as pa
import zstandard
from xxhash import xxh3_128_hexdigest

from corpus.errors import InputError, first_line
from corpus.json_values import document_lines, json_value
from corpus.run import command
from corpus.tables.external_files import open_source
from corpus.tables.parquet import PartFile
from corpus.urls import Target, target
from corpus.zstd import FRAME_MAGIC, ZstdReader
from webtext.stages import stage_main

READ_ROWS = 1000
GZIP_MAGIC = b"\x1f\x8b"


class Columns(NamedTuple):
    """Names of the columns, or JSON keys, to read; empty: none."""

    text: str
    url: str
    id: str
    date: str


def main(argv: Sequence[str] | None = None) -> int:
    """Import the documents of Parquet or JSON-lines files as a batch."""
    return command.run_command(_body, argv, stage="webtext.import")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser(
        "webtext.import", "Import documents that are text already as a batch of the corpus."
    )
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument(
        "--parquet", nargs="+", metavar="FILE", help="Parquet files: paths or URIs"
    )
    sources.add_argument(
        "--jsonl",
        nargs="+",
        metavar="FILE",
        help="files of one JSON object a line, plain, .gz or .zst: paths or URIs",
    )
    parser.add_argument("--text-column", required=True, metavar="NAME", help="column of the text")
    parser.add_argument(
        "--url-column",
        default="",
        metavar="NAME",
        help="column of the address, which identifies a document (default: an address made from --id-column or the text)",
    )
    parser.add_argument(
        "--id-column",
        default="",
        metavar="NAME",
        help="column that identifies a document within its file (default: a hash of the text)",
    )
    parser.add_argument(
        "--date-column",
        default="",
        metavar="NAME",
        help="column of the date of the text (ISO 8601)",
    )
    parser.add_argument(
        "--workers", metavar="N", help="tasks at the same time (default: one per core)"
    )
    args = parser.parse_args(argv)

    columns = Columns(args.text_column, args.url_column, args.id_column, args.date_column)

    with tempfile.TemporaryDirectory(prefix="webtext-import-") as folder:
        files = [
            _write_warc(source, columns, bool(args.parquet), Path(folder), number)
            for number, source in enumerate(args.parquet or args.jsonl)
        ]
        arguments = ["--corpus", args.corpus, "--batch", args.batch, "--warc", *files]
        arguments += ["--workers", args.workers] if args.workers else []
        arguments += ["--json"] if args.json else []
        code = stage_main("crawl")(arguments)

    if code == 0:
        print(f"next: webtext clean --corpus {args.corpus} --batch {args.batch}")
    return code


def _write_warc(source: str, columns: Columns, is_parquet: bool, folder: Path, number: int) -> str:
    """Write one file's documents as WARC records; the path. Same documents, same bytes."""
    name = source.rstrip("/").rpartition("/")[2]
    path = folder / str(number) / f"{name}.warc"
    path.parent.mkdir()
    host = f"{_host_label(name)}.invalid"
    rows = _parquet_rows(source, columns) if is_parquet else _json_rows(source)
    count = 0

    with path.open("wb") as stream:
        for count, row in enumerate(rows, 1):
            place = f"{source}: document {count}"
            stream.write(_record(row, columns, host, place))

    if not count:
        raise InputError(f"{source}: no document in it")

    return str(path)


def _record(row: dict[str, Any], columns: Columns, host: str, place: str) -> bytes:
    """A WARC response record (ISO 28500:2017) with the text."""
    text = row.get(columns.text)
    if columns.text not in row or not isinstance(text, str | None):
        raise InputError(
            f"{place}: column {columns.text!r} holds {text!r:.60}; expected text (columns: {', '.join(row)})"
        )

    body = (text or "").encode("utf-8", "replace")
    url = _address(row, columns, host, body, place)

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
    block = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
    record_id = UUID(xxh3_128_hexdigest(url.encode() + b"\n" + body))
    fields = [
        "WARC/1.1",
        "WARC-Type: response",
        f"WARC-Record-ID: <urn:uuid:{record_id}>",
        f"WARC-Date: {_date(row, columns, place)}",
        f"WARC-Target-URI: {url}",
        "Content-Type: application/http; msgtype=response",
        f"Content-Length: {len(block)}",
    ]

    return "\r\n".join(fields).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def _address(row: dict[str, Any], columns: Columns, host: str, body: bytes, place: str) -> str:
    """The document's own address, else one made from its id or text.

    The latter is below a host name reserved as never existing (RFC 2606).
    """
    if columns.url:
        url = row.get(columns.url)
        found = target(url) if isinstance(url, str) else None
        if not isinstance(found, Target):
            raise InputError(
                f"{place}: column {columns.url!r} holds {url!r:.120}, which is not an http(s) address; leave --url-column out to have addresses made"
            )
        return found.url

    name = row.get(columns.id) if columns.id else None
    if columns.id and (name is None or name == ""):
        raise InputError(f"{place}: column {columns.id!r} is empty; expected an id")

    # Hashed: an id may have any characters, and addresses are normalised.
    return f"https://{host}/{xxh3_128_hexdigest(body if name is None else str(name).encode())}"


def _date(row: dict[str, Any], columns: Columns, place: str) -> str:
    """The time of the text in WARC's form; 1970 if no column says one."""
    value = row.get(columns.date) if columns.date else None
    if value is None:
        return "1970-01-01T00:00:00Z"

    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{place}: column {columns.date!r} holds {value!r:.60}; expected a date such as 2024-01-31T12:00:00Z"
        ) from error

    # `strftime` writes the year 800 with three digits, which is not a date of ISO 8601.
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def _parquet_rows(source: str, columns: Columns) -> Iterator[dict[str, Any]]:
    with open_source(source, "--parquet") as stream:
        try:
            file = PartFile(pa.PythonFile(stream, mode="r"), f"--parquet {source}")
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"--parquet {source}: not a Parquet file ({error})") from error
        names = [name for name in columns if name]
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise InputError(
                f"--parquet {source}: no column {missing[0]!r}; present: {', '.join(file.schema_arrow.names)}"
            )
        try:
            for index in range(file.num_row_groups):
                for piece in file.iter_row_group(index, names, READ_ROWS):
                    yield from piece.to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--parquet {source}: damaged ({first_line(error)}); get it again"
            ) from error
        except (ValueError, OverflowError) as error:
            # A time beyond the year 9999, or of nanoseconds, has no Python object.
            raise InputError(
                f"--parquet {source}: a value that cannot be read ({first_line(error)}); expected "
                f"texts, ids and dates in {', '.join(names)}"
            ) from error


def _json_rows(source: str) -> Iterator[dict[str, Any]]:
    with open_source(source, "--jsonl") as raw:
        for number, line in enumerate(_lines(source, raw), 1):
            if not line.strip():
                continue
            try:
                row = json_value(line)
            except ValueError as error:
                raise InputError(
                    f"--jsonl {source}: line {number} is not JSON ({error})"
                ) from error
            if not isinstance(row, dict):
                raise InputError(
                    f"--jsonl {source}: line {number} is {type(row).__name__}; expected an object"
                )
            yield row


def _lines(source: str, raw: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. Raises: InputError for one that is cut off or damaged."""
    try:
        yield from document_lines(_plain(raw), f"--jsonl {source}")
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"--jsonl {source}: damaged ({error}); get it again") from error


def _plain(stream: BinaryIO) -> io.BufferedIOBase:
    """The lines of a file, decompressed according to its first bytes."""
    magic = stream.read(4)
    stream.seek(0)
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=stream)
    if magic == FRAME_MAGIC:
        return io.BufferedReader(ZstdReader(stream, 1 << 31))

    return io.BufferedReader(cast(io.RawIOBase, stream))


def _host_label(name: str) -> str:
    """A host name from a file's name: its letters and digits, and a hash.

    Two files never share one.
    """
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())
    return f"{plain.strip('-')[:40].strip('-') or 'file'}-{xxh3_128_hexdigest(name.encode())[:6]}"
