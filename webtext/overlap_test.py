"""Measures how well dedup finds your test sets in your pages, before a corpus depends on it.

    webtext overlap-test --corpus C --batch B --set 'dedup.testsets=["/data/evalsets"]'

Entries of each test set are planted in many forms into pages of the batch: as written, wrapped,
with words divided at line ends, detokenized, with HTML, in capitals, with edits, in part, and
mirrored 20 times. The dedup stage runs on a temporary corpus with your settings. An entry is found
if its page is dropped or at least half of it is cut out. The pages themselves are judged as well:
those that lose text without a planted entry are listed, since each is a quotation or a mistake.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import string
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from corpus.config import CORPUS_SETTINGS
from corpus.errors import InputError
from corpus.evaluation_sets.files import TestSet, load_testsets
from corpus.evaluation_sets.natural_text import is_tokenized, natural_pieces
from corpus.run import command
from corpus.run.arguments import add_run_options
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import iter_tables, part_paths, read_table, write_part
from corpus.tables.schemas import DOCUMENTS, LINKS, part_of_id
from dedup import run
from dedup.config import DedupConfig

BATCH = "planted"
NUM_PARTS = 4
SEED = 1
MIRRORS = 20
# Planted words of an entry: longer ones are cut from their middle.
MOST_WORDS = 200
# Words of an entry planted by the form `part`.
PART_WORDS = 60
# Characters of real text on each side of an entry.
AROUND_CHARS = 1_500
LINE_CHARS = 60
# Share of an entry to be removed.
GONE_FRAC = 0.5
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Planted:
    """A page with an entry in it."""

    testset: str
    form: str
    entry: int
    doc_id: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one test."""

    recall: dict[str, dict[str, tuple[int, int]]]
    """Per test set and form: entries found, entries planted."""
    num_pages: int
    touched: list[str]
    """Addresses of pages of the batch that lost text without a planted entry."""

    @property
    def precision(self) -> float:
        """The share of touched pages with a planted entry; 1 if no page is touched."""
        found = sum(hit for forms in self.recall.values() for hit, _ in forms.values())
        touched = found + len(self.touched)
        return found / touched if touched else 1.0

    def to_json(self) -> dict[str, Any]:
        """The counts for machines."""
        return {
            "recall": {
                name: {form: {"found": hit, "planted": of} for form, (hit, of) in forms.items()}
                for name, forms in self.recall.items()
            },
            "pages": self.num_pages,
            "touched": self.touched,
            "precision": self.precision,
        }

    def render(self) -> str:
        """The table of recall, then precision with the touched pages."""
        forms = [form for found in self.recall.values() for form in found]
        columns = list(dict.fromkeys(forms))
        lines = [
            "share of planted entries that are found",
            f"{'test set':28}" + "".join(f"{form:>12}" for form in columns),
        ]
        for name, found in self.recall.items():
            cells = (
                f"{found[form][0] / found[form][1]:>12.0%}" if form in found else f"{'-':>12}"
                for form in columns
            )
            lines.append(f"{name[-27:]:28}" + "".join(cells))

        lines.append(
            f"precision {self.precision:.4f}: {len(self.touched)} of {self.num_pages:,} pages lose "
            "text without a planted entry (quotations, or mistakes)"
        )
        lines += [f"  {url}" for url in self.touched[:SHOWN]]
        return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.overlap-test")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.parser("webtext.overlap-test", __doc__ or "")
    add_run_options(parser)
    parser.add_argument(
        "--entries",
        type=command.positive,
        default=20,
        metavar="N",
        help="entries of each test set that are planted (default: 20)",
    )
    parser.add_argument(
        "--pages",
        type=command.positive,
        default=10_000,
        metavar="N",
        help="pages of the batch that are judged with them (default: 10,000)",
    )
    args = parser.parse_args(argv)
    config = command.config(DedupConfig, "dedup", args)
    if not config.testsets:
        raise InputError(
            "dedup.testsets names no test set; expected files or folders, such as "
            "--set 'dedup.testsets=[\"/data/evalsets\"]'"
        )

    store = open_corpus(args.corpus)
    rows = _pages(store, check_name("--batch", args.batch), args.pages)
    planted = plant(load_testsets(config.testsets), [row["text"] for row in rows], args.entries)
    with tempfile.TemporaryDirectory(prefix="webtext-overlap-") as folder:
        verdicts = _verdicts(Path(folder), store, rows, planted, args)
    measured = measure(planted, rows, verdicts)

    print(measured.render())
    if args.json:
        print(json.dumps(measured.to_json(), sort_keys=True))
    return 0


def plant(sets: Sequence[TestSet], pages: Sequence[str], num_entries: int) -> list[Planted]:
    """Pages with entries of the sets in every form, always the same.

    Raises: InputError for pages too few or too short to plant in.
    """
    generator = random.Random(SEED)
    hosts = [text for text in pages if len(text) > AROUND_CHARS]
    if not hosts:
        raise InputError(
            f"no page of the batch has more than {AROUND_CHARS:,} characters to plant an entry in"
        )

    planted: list[Planted] = []
    for testset in sets:
        chosen = [
            (number, text)
            for number, entry in enumerate(testset.entries)
            if len((text := max(entry, key=len)).split()) >= 13
        ]
        generator.shuffle(chosen)
        tokenized = is_tokenized([text for _, text in chosen])
        for number, text in chosen[:num_entries]:
            words = text.split(" ")
            first = max(0, (len(words) - MOST_WORDS) // 2)
            text = " ".join(words[first : first + MOST_WORDS])
            for form, shown in _forms(text, tokenized, generator).items():
                body = _around(hosts, generator), _around(hosts, generator)
                copies = MIRRORS if form == "mirrored" else 1
                for copy in range(copies):
                    header = f"Mirror {copy} of {copies}.\n\n" if copies > 1 else ""
                    before = f"{header}{body[0]}\n\n"
                    page = f"{before}{shown}\n\n{body[1]}"
                    planted.append(
                        Planted(
                            testset.name,
                            form,
                            number,
                            xxh3_128_hexdigest(f"{form} {number} {page}".encode()),
                            page,
                            len(before),
                            len(before) + len(shown),
                        )
                    )

    return planted


def measure(
    planted: Sequence[Planted], rows: Sequence[dict[str, Any]], verdicts: dict[str, dict[str, Any]]
) -> Measured:
    """Count removed planted entries, and touched pages without one."""
    held: dict[tuple[str, str, int], bool] = {}
    for page in planted:
        key = (page.testset, page.form, page.entry)
        held[key] = held.get(key, False) or _is_left(page, verdicts[page.doc_id])

    recall: dict[str, dict[str, tuple[int, int]]] = {}
    for (testset, form, _), is_left in held.items():
        found, of = recall.setdefault(testset, {}).get(form, (0, 0))
        recall[testset][form] = (found + (not is_left), of + 1)

    touched = [row["url"] for row in rows if verdicts[row["doc_id"]]["overlap_ngrams"]]
    return Measured(recall, len(rows), touched)


def _is_left(page: Planted, verdict: dict[str, Any]) -> bool:
    """True if a page is kept with more than half of its entry."""
    if not verdict["kept"]:
        return False
    gone = sum(
        max(0, min(page.end, cut["end"]) - max(page.start, cut["start"])) for cut in verdict["cuts"]
    )
    return gone < GONE_FRAC * (page.end - page.start)


def _forms(text: str, tokenized: bool, generator: random.Random) -> dict[str, str]:
    """A passage in every form found on pages."""
    words = text.split()
    forms = {
        "verbatim": text,
        "wrapped": _wrapped(words),
        "divided": _divided(words),
        "capitals": re.sub(r"[^\w\s]", "", text).upper(),
        "html": "".join(f"<p>{_escaped(line)}</p>\n" for line in _wrapped(words).split("\n")),
        "every 12th": _edited(words, 12, generator),
        "every 8th": _edited(words, 8, generator),
        "mirrored": text,
    }
    if tokenized:
        pieces = natural_pieces(text, tokenized=True, has_gaps=False)
        forms["natural"] = " ".join(pieces or [text]).replace("<unk>", "Smith")
    if len(words) >= 2 * PART_WORDS:
        forms["part"] = " ".join(words[PART_WORDS // 2 : PART_WORDS // 2 + PART_WORDS])

    return forms


def _wrapped(words: Sequence[str]) -> str:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) >= LINE_CHARS:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return "\n".join(lines)


def _divided(words: Sequence[str]) -> str:
    """Lines broken inside the last word, if it is made of letters and long enough."""
    text, column = "", 0
    for word in words:
        if column + len(word) > LINE_CHARS and len(word) >= 6 and word.isalpha() and word.islower():
            text, column = f"{text} {word[:3]}-\n{word[3:]}", len(word) - 3
        else:
            text, column = f"{text} {word}", column + len(word) + 1
    return text.strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&quot;")


def _edited(words: Sequence[str], every: int, generator: random.Random) -> str:
    """The words with each `every`th replaced by random letters."""
    return " ".join(
        "".join(generator.choices(string.ascii_lowercase, k=7))
        if place % every == every - 1
        else word
        for place, word in enumerate(words)
    )


def _around(hosts: Sequence[str], generator: random.Random) -> str:
    text = generator.choice(hosts)
    first = generator.randrange(len(text) - AROUND_CHARS)
    return text[first : first + AROUND_CHARS]


def _pages(store: Store, batch: str, limit: int) -> list[dict[str, Any]]:
    """The first documents of a batch by id. Ids are hashes: the sample is random."""
    read_manifest(store, DOCUMENTS.name, batch)
    rows: list[dict[str, Any]] = []
    for path in part_paths(store, DOCUMENTS.name, batch):
        for table in iter_tables(store, path):
            rows += table.slice(0, limit - len(rows)).to_pylist()
            if len(rows) == limit:
                return rows

    if not rows:
        raise InputError(f"{store.root}: batch {batch!r} has no document to plant entries in")
    return rows


def _verdicts(
    folder: Path,
    store: Store,
    rows: Sequence[dict[str, Any]],
    planted: Sequence[Planted],
    args: Any,
) -> dict[str, dict[str, Any]]:
    """The verdicts of dedup on the pages and the planted ones, in a corpus of their own."""
    made = open_corpus(str(folder), create=True)
    settings = command.corpus_settings(args.corpus)
    if settings is not None:
        made.write_bytes(CORPUS_SETTINGS, settings.encode())

    blank = {field.name: rows[0][field.name] for field in DOCUMENTS.schema}
    documents = [
        *rows,
        *(
            {
                **blank,
                "doc_id": page.doc_id,
                "url": f"https://{page.doc_id}.invalid/",
                "text": page.text,
            }
            for page in planted
        ),
    ]
    _write(made, DOCUMENTS, documents)
    _write(made, LINKS, [_link(row) for row in documents])

    arguments = ["--corpus", str(folder), "--batch", BATCH]
    arguments += ["--config", args.config] if args.config else []
    arguments += ["--workers", str(args.workers)] if args.workers else []
    arguments += [word for each in args.sets for word in ("--set", each)]
    # The stage prints its own tables, about a temporary corpus.
    with contextlib.redirect_stdout(io.StringIO()):
        code = run.main(arguments)
    if code != 0:
        raise InputError(f"dedup ended with exit code {code} on the planted pages")

    columns = ["doc_id", "kept", "cuts", "overlap_ngrams"]
    verdicts = read_table(made, "verdicts", BATCH, columns).to_pylist()
    return {row["doc_id"]: row for row in verdicts}


def _write(store: Store, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: str(row["doc_id"]))
    parts = [
        write_part(
            store,
            table.folder(BATCH),
            f"part-{index:05}.parquet",
            table,
            list(_of_part(rows, table, index)),
            index,
            NUM_PARTS,
        )
        for index in range(NUM_PARTS)
    ]
    commit_table(store, table, BATCH, parts, num_parts=NUM_PARTS, stage="overlap-test")


def _of_part(rows: Sequence[dict[str, Any]], table: Any, index: int) -> Iterator[pa.Table]:
    here = [row for row in rows if part_of_id(row["doc_id"], NUM_PARTS) == index]
    yield pa.Table.from_pylist(here, table.schema)


def _link(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "doc_id": row["doc_id"],
        "url": row["url"],
        "url_key": row["url"],
        "domain": row["domain"],
        "score": row["score"],
        "score_sum": row["score"],
        "num_submissions": 1,
        "submission_id": "",
        "subreddit": row["subreddit"],
        "title": "",
        "created": 0,
        "over_18": False,
    }
