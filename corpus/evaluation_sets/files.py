"""Evaluation sets with digests: dedup removes, and train scores, exactly the same files.

Sets are named by file, by folder, or as `hf:<owner>/<name>` on the Hugging Face hub (`hub`). A set
is a file: JSON lines, JSON, Parquet, or plain text, all but Parquet also as .gz, .bz2 or .zst. A
record is an entry, a text file is one entry. A JSON file is an array of records, or an object with
one (CoQA and SQuAD: `data`). An entry is a few passages: the strings of its fields. A
`testsets.toml` beside the files names these fields, and so does `hf:<owner>/<name>?fields=question,code`; without either, the
defaults below apply. CSV and TSV are records as well.

    [boolq]                      # the set's name: the file's, without suffixes
    fields = ["query", "choices"]
    [ptb]
    split = "lines"              # text: "file" (the default), "lines" or "paragraphs"
    train = "ptb.train.txt"      # optional: the set's own training split, for comparison
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import zstandard
from pydantic import ValidationError
from xxhash import xxh3_128

from corpus.config import Section
from corpus.errors import InputError
from corpus.evaluation_sets import hub
from corpus.evaluation_sets.known_fields import KNOWN_FIELDS, known_fields
from corpus.evaluation_sets.records import (
    entries_of,
    field_names,
    is_long,
    plain_name,
    strings_of,
    table_rows,
)
from corpus.json_values import json_value
from corpus.tables.parquet import PartFile, unpacked_limit
from corpus.zstd import ZstdReader

log = logging.getLogger(__name__)

SETTINGS_FILE = "testsets.toml"
# Names the fields of a set of the hub: `hf:owner/name?fields=question,code`.
FIELDS_MARK = "?fields="
# Fields that count by default; a record may lack some of them.
FIELDS = (
    *(
        "text",
        "question",
        "query",
        "prompt",
        "input",
        "problem",
        "goal",
        "sentence",
        "passage",
        "context",
        "ctx",
    ),
    *(
        "story",
        "article",
        "document",
        "premise",
        "hypothesis",
        "support",
        "context_options",
        "endings",
        "choices",
    ),
    *(
        "highlights",
        "options",
        "sol1",
        "sol2",
        "answer",
        "answers",
        "continuation",
        "completion",
        "target",
        "solution",
    ),
    *("chain_of_thought", "rationale"),
    *("canonical_solution", "code", "summary", "best_answer", "correct_answers", "correct_answer"),
    *("incorrect_answers", "answerA", "answerB", "answerC", "answerD", "choice1", "choice2"),
    *("paragraph", "alternatives", "sentence1", "sentence2", "question_stem", "body", "statement"),
    *("claim", "narrative", "explanation", "solutions", "references", "translation", "messages"),
    *("instruction", "output", "response", "turns", "conversations", "conversation", "dialogue"),
    *("dialog", "utterances", "tokens", "question_text", "content", "correct", "incorrect"),
)
# Bytes that a set may unpack to. The largest known, the held-out shards of One Billion Words,
# have 210 MB together.
MAX_UNPACKED_BYTES = 1 << 30
# Characters of one entry. enwik8 is one of 100 million; the overlap filter needs 16 bytes of
# memory for each.
MAX_ENTRY_CHARS = 128 << 20

# The rules of `records`: other rules read other passages from the same file.
READER = "records-2"
# Words from which a string field that is left out is reported: a passage of 7 words counts.
LONG_FIELD_WORDS = 7
# enwik8 and text8 are scored by their last 5 MB; the rest is their training part.
TEST_PART_BYTES = 5_000_000

_TABLES = {".csv": ",", ".tsv": "\t"}
_RECORDS = (".jsonl", ".ndjson", ".json", ".parquet", *_TABLES)
_TEXT = (".txt", ".text", ".tokens")
# Official names of texts without a known suffix.
_TEXT_BY_NAME = re.compile(
    r"enwik8|text8|news\.en\.heldout-\d+-of-\d+|newstest\d+\.[a-z]+-[a-z]+\.tsv"
)
_PACKED = (".gz", ".bz2", ".zst")


class TestSetSettings(Section):
    """One section of `testsets.toml`."""

    __test__ = False
    fields: tuple[str, ...] | None = None
    """Fields that count, in order; none: the defaults by name."""
    split: Literal["file", "lines", "paragraphs"] = "file"
    """Unit of a text file that becomes an entry."""
    train: str | None = None
    """File with the set's own training split, relative to the settings; none: not compared."""


@dataclass(frozen=True, slots=True)
class TestSetFile:
    """A set on disk, still unread."""

    __test__ = False
    name: str
    path: Path
    settings: TestSetSettings

    @property
    def digest(self) -> str:
        """32 hex digits over the file's bytes and the settings of the choice."""
        stat = self.path.stat()
        content = _file_digest(str(self.path), stat.st_size, stat.st_mtime_ns)
        chosen = self.settings.model_dump_json(exclude={"train"})
        if self.settings.fields is None and _suffix(self.path) in _RECORDS:
            chosen += " ".join((*FIELDS, *known_fields(self.name)))
        if _suffix(self.path) in _RECORDS:
            chosen += READER
        if _has_training_part(self.path):
            chosen += f"last {TEST_PART_BYTES}"
        return xxh3_128(f"{self.name}\n{content}\n{chosen}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TestSet:
    """An evaluation set: entries of passages, in file order."""

    __test__ = False
    name: str
    digest: str
    entries: tuple[tuple[str, ...], ...]
    fields: tuple[str, ...] = ()
    """Fields that were read; none for texts."""
    left_out: tuple[str, ...] = ()
    """Fields of long strings that were not read."""

    @property
    def texts(self) -> list[str]:
        """Every entry as one text, one passage a line."""
        return ["\n".join(entry) for entry in self.entries]


def find_testsets(paths: Sequence[str]) -> list[TestSetFile]:
    """The sets in files, in folders and on the hub, sorted by name.

    Raises: InputError for a missing path, a folder without a set, two sets of one name, or bad
    settings.
    """
    found: dict[str, TestSetFile] = {}
    for given in paths:
        for each in _sets_of(given):
            if each.name in found and found[each.name].path.resolve() != each.path.resolve():
                raise InputError(
                    f"test sets {found[each.name].path} and {each.path} are both named {each.name!r}; "
                    "name the folder above both, which tells them apart, or rename one of the files"
                )
            found[each.name] = each

    return [found[name] for name in sorted(found)]


def load_testset(file: TestSetFile) -> TestSet:
    """Read one set.

    Raises: InputError for a broken file, one beyond the limits, or one without an entry.
    """
    seen = _FieldsSeen()
    try:
        entries = tuple(_entries(file, seen))
    except (
        OSError,
        ValueError,
        EOFError,
        RecursionError,
        pa.ArrowException,
        zstandard.ZstdError,
    ) as error:
        raise InputError(
            f"test set {file.path}: cannot be read ({error}); mend or remove the file"
        ) from error

    longest = max((sum(map(len, entry)) for entry in entries), default=0)
    if longest > MAX_ENTRY_CHARS:
        raise InputError(
            f"test set {file.path}: an entry has {longest:,} characters, the limit is {MAX_ENTRY_CHARS:,}; split or remove it"
        )
    if not entries:
        raise InputError(f"test set {file.path}: no entry in it; mend or remove the file")

    chosen = _chosen_fields(file)
    return TestSet(file.name, file.digest, entries, seen.read(chosen), seen.left_out(chosen))


def load_testsets(paths: Sequence[str]) -> list[TestSet]:
    """Read all sets in `paths`. Raises: InputError."""
    return [load_testset(file) for file in find_testsets(paths)]


def load_train_split(file: TestSetFile) -> TestSet | None:
    """Read the set's own training split, if the settings name one. Raises: InputError."""
    if file.settings.train is None:
        return None

    path = file.path.parent / file.settings.train
    if not path.is_file():
        raise InputError(
            f"test set {file.path}: its training split {path} is not there; correct {SETTINGS_FILE}"
        )

    return load_testset(TestSetFile(file.name, path, file.settings))


def _sets_of(given: str) -> list[TestSetFile]:
    if given.startswith(hub.PREFIX):
        name, _, fields = given.partition(FIELDS_MARK)
        chosen = TestSetSettings(fields=tuple(fields.split(",")) if fields else None)
        return [TestSetFile(each.name, each.path, chosen) for each in hub.fetch(name)]

    root = Path(given).expanduser()
    if root.is_file():
        if _suffix(root) is None:
            raise InputError(
                f"test set {root}: unknown kind of file; expected {', '.join(_RECORDS + _TEXT)} ({', '.join(_PACKED)} too)"
            )
        return [
            TestSetFile(
                _stem(root), root, _settings(root.parent).get(_stem(root), TestSetSettings())
            )
        ]
    if not root.is_dir():
        raise InputError(f"test sets {root}: no such file or folder; name existing ones")

    sets = []
    folders = sorted({path.parent for path in root.rglob("*") if path.is_file()})
    settings_of = {folder: _settings(folder) for folder in folders}
    # A training split may be in another folder than its set.
    trains = {
        (folder / each.train).resolve()
        for folder, settings in settings_of.items()
        for each in settings.values()
        if each.train is not None
    }
    for folder, settings in settings_of.items():
        files = [
            path
            for path in sorted(folder.iterdir())
            if path.is_file() and path.resolve() not in trains
        ]
        names = {}

        for path in files:
            if _suffix(path) is None:
                if path.name != SETTINGS_FILE:
                    log.warning(
                        "test sets %s: %s is not read: unknown kind of file; expected %s",
                        root,
                        path.name,
                        ", ".join(_RECORDS + _TEXT),
                    )
                continue
            stem = _stem(path)
            names[stem] = path
            relative = folder.relative_to(root).as_posix()
            name = stem if relative == "." else f"{relative}/{stem}"
            sets.append(TestSetFile(name, path, settings.get(stem, TestSetSettings())))

        if unknown := settings.keys() - names.keys():
            raise InputError(
                f"{folder / SETTINGS_FILE}: section [{sorted(unknown)[0]}] names no file there; known: {', '.join(sorted(names))}"
            )

    if not sets:
        raise InputError(
            f"test sets {root}: no file of a known kind in the folder; expected {', '.join(_RECORDS + _TEXT)}"
        )

    return sets


def _settings(folder: Path) -> dict[str, TestSetSettings]:
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return {}

    try:
        document = tomllib.loads(path.read_text("utf-8"))
        return {name: TestSetSettings.model_validate(section) for name, section in document.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{path}: {key} = {problem['input']!r}: {problem['msg']}") from error


@dataclass(slots=True)
class _FieldsSeen:
    """The fields of a set's records, and those with a long string in some record."""

    all: set[str] = field(default_factory=set)
    long: set[str] = field(default_factory=set)

    def read(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """The fields that were read, by name."""
        names = {plain_name(name) for name in chosen}
        return tuple(sorted(name for name in self.all if plain_name(name) in names))

    def left_out(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """The fields of long strings that were not, by name."""
        return tuple(sorted(self.long - set(self.read(chosen))))

    def see(self, record: Mapping[str, Any], passages: Sequence[str]) -> None:
        """Take note of a record, of which `passages` were read."""
        self.all.update(field_names(record))
        read = "\n".join(passages)
        for name, value in record.items():
            if name not in self.long and any(
                is_long(text, LONG_FIELD_WORDS) and text not in read for text in strings_of(value)
            ):
                self.long.add(name)


def _entries(file: TestSetFile, seen: _FieldsSeen) -> Iterator[tuple[str, ...]]:
    suffix = _suffix(file.path)
    if suffix in _TEXT:
        data = read_bytes(file.path)
        if _has_training_part(file.path):
            # The cut may fall inside a character.
            text = data[-TEST_PART_BYTES:].decode("utf-8", "ignore")
        else:
            text = data.decode("utf-8-sig")
        for piece in _split(text, file.settings.split):
            yield (piece,)
        return

    chosen = _chosen_fields(file)
    names = tuple(dict.fromkeys(plain_name(name) for name in chosen))
    for record in _records(file.path, suffix):
        if isinstance(record, str):
            entries = [[record]]
        elif isinstance(record, tuple):
            entries = [[text for cell in record for text in strings_of(cell)]]
        elif isinstance(record, dict):
            entries = list(entries_of(record, names, nested=file.settings.fields is None))
            seen.see(record, [text for entry in entries for text in entry])
        else:
            raise ValueError(f"an entry is {type(record).__name__}, expected an object or a string")

        for entry in entries:
            if passages := tuple(_encodable(text) for text in entry if text.strip()):
                yield passages

    if seen.all and not seen.read(chosen):
        raise ValueError(
            f"none of the fields {', '.join(chosen)} in it; its fields: {', '.join(sorted(seen.all))}; name them in {SETTINGS_FILE}"
        )


def _chosen_fields(file: TestSetFile) -> tuple[str, ...]:
    return file.settings.fields or tuple(dict.fromkeys((*FIELDS, *known_fields(file.name))))


def _has_training_part(path: Path) -> bool:
    name = _unpacked_name(path).lower()
    return name.removesuffix(".txt").removesuffix(".text") in ("enwik8", "text8")


def _records(path: Path, suffix: str | None) -> Iterator[Any]:
    if suffix == ".parquet":
        yield from _parquet_records(path)
        return

    text = read_bytes(path).decode("utf-8-sig")
    if suffix in _TABLES:
        known = {plain_name(name) for each in (FIELDS, *KNOWN_FIELDS.values()) for name in each}
        yield from table_rows(text, _TABLES[suffix], known)
        return
    if suffix == ".json" and (whole := _whole_json(text)) is not None:
        yield from whole
        return

    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json_value(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error


def _parquet_records(path: Path) -> Iterator[Any]:
    limit = unpacked_limit(path.stat().st_size)
    num_bytes = 0
    with path.open("rb") as stream:
        for table in PartFile(stream, str(path)).tables():
            num_bytes += table.nbytes
            if num_bytes > limit:
                raise _too_large(path, limit)
            yield from table.to_pylist()


def _encodable(text: str) -> str:
    """Replace lone surrogates, possible in JSON but not in UTF-8, by question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _whole_json(text: str) -> list[Any] | None:
    """The records of a JSON file: its array, or the only array of objects in its object.

    None for JSON lines.
    """
    try:
        document = json_value(text)
    except ValueError:
        if text.lstrip().startswith("["):
            raise
        return None

    if isinstance(document, list):
        return document

    lists = (
        [each for each in document.values() if _holds_objects(each)]
        if isinstance(document, dict)
        else []
    )

    return lists[0] if len(lists) == 1 else [document]


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _split(text: str, split: str) -> list[str]:
    if split == "lines":
        pieces = text.split("\n")
    elif split == "paragraphs":
        pieces = text.replace("\r\n", "\n").split("\n\n")
    else:
        pieces = [text]
    return [piece for piece in pieces if piece.strip()]


def _suffix(path: Path) -> str | None:
    if _TEXT_BY_NAME.fullmatch(_unpacked_name(path)):
        return _TEXT[0]
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    if suffixes and suffixes[-1] in _RECORDS + _TEXT:
        return suffixes[-1]
    return None


def _unpacked_name(path: Path) -> str:
    return path.name.rpartition(".")[0] if path.name.lower().endswith(_PACKED) else path.name


def _stem(path: Path) -> str:
    name = _unpacked_name(path)
    return name.rpartition(".")[0] if name.lower().endswith(_RECORDS + _TEXT) else name


def read_bytes(path: Path) -> bytes:
    """The bytes of the file, unpacked if its name ends like a packer's.

    Raises: InputError if it unpacks to more than `MAX_UNPACKED_BYTES`; OSError, EOFError,
    ZstdError.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as packed:
        stream: Any = packed
        if suffix == ".gz":
            stream = gzip.GzipFile(fileobj=packed)
        elif suffix == ".bz2":
            stream = bz2.BZ2File(packed)
        elif suffix == ".zst":
            stream = io.BufferedReader(ZstdReader(packed, 1 << 31))

        # One byte beyond the limit tells a file at the limit from a larger one.
        data = bytearray()
        try:
            while piece := stream.read(min(1 << 20, MAX_UNPACKED_BYTES + 1 - len(data))):
                data += piece
                if len(data) > MAX_UNPACKED_BYTES:
                    raise _too_large(path, MAX_UNPACKED_BYTES)
        except zlib.error as error:
            # No OSError, unlike other damage of gzip.
            raise gzip.BadGzipFile(str(error)) from error

    return bytes(data)


def _too_large(path: Path, limit: int) -> InputError:
    return InputError(
        f"test set {path}: unpacks to more than {limit:,} bytes, the limit for its {path.stat().st_size:,}; split or remove it"
    )


@lru_cache(maxsize=1024)
def _file_digest(path: str, size: int, modified_ns: int) -> str:
    digest = xxh3_128()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
