"""A dump to link submissions: ours, and the usual loops, on the same file.

    python -m bench.crawl.links [--json]

`ours` does the whole work: every row judged and counted, URLs parsed, keyed and hashed, Arrow
batches. The others read the rows and keep (id, url, score, subreddit, title, created_utc) of those
with an outbound link, not over 18, and a score of 3: `ours-rows` with our reader and decoder,
`json` and `orjson` with a loop over lines, `polars` with its NDJSON reader on one thread, which
needs the whole file in memory.

The file has all schema eras in equal parts, from a seed. It leaves out broken rows, on which polars
fails, and rows with a list as score, which no dump has. Its filler redraws the type of every value
in every row, the worst case for a parser's guesses. With --shapes the rows are real ones (fields,
order, nested objects) with redrawn texts, addresses, names and numbers. --dump names another file.
"""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show

ROWS_PER_ERA = 10_000
SEED = 7
SHAPES = "reddit/RS_mixed_years_2005-2024.jsonl.zst"
MIN_ROW_BYTES = 1_400
FIELDS = ("id", "url", "score", "subreddit", "title", "created_utc")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--rows", type=int, default=ROWS_PER_ERA, help="rows per era (default: 10,000)"
    )
    parser.add_argument("--era", help="rows of one month only, such as 2017-12")
    parser.add_argument(
        "--shapes",
        nargs="?",
        const="",
        metavar="FILE",
        help=(
            ".jsonl.zst of real rows to take the shapes from, those of MIN_ROW_BYTES or more "
            "(default: the shared ones)"
        ),
    )
    parser.add_argument("--dump", help="a .zst dump instead of a generated one")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if args.dump:
            path, description = args.dump, args.dump
        elif args.shapes is not None:
            path, description = _reshape(
                folder, args.shapes or str(shared() / SHAPES), args.rows * 3
            )
        else:
            path, description = _generate(folder, args.rows, args.era)

        rows, num_bytes = _size(path)
        result = compare(
            "links",
            CONTESTANTS,
            path,
            description=(
                f"{description}: {rows:,} rows, {num_bytes / 1e6:.0f} MB, "
                f"{num_bytes / max(1, rows):.0f} bytes a row"
            ),
            unit="rows/s",
            rounds=args.rounds,
        )

    for row in result["contestants"]:
        row["quality"]["mb_per_s"] = round(row["rate"] * num_bytes / max(1, rows) / 1e6, 1)
    show(result, as_json=args.json)


def _generate(folder: str, rows: int, month: str | None) -> tuple[str, str]:
    from tests.crawl.links import eras

    chosen = [era for era in eras.ERAS if month in (None, era.month)]
    if not chosen:
        raise SystemExit(
            f"--era {month}: expected one of {', '.join(era.month for era in eras.ERAS)}"
        )

    path = Path(folder) / "RS_bench.zst"
    with (
        path.open("wb") as stream,
        zstandard.ZstdCompressor(level=3).stream_writer(stream) as writer,
    ):
        for era in chosen:
            lines = eras.dump(era, SEED, rows).lines
            writer.write(b"".join(line + b"\n" for line in lines if _is_ordinary(line)))

    return str(path), f"generated rows of {', '.join(era.month for era in chosen)}, seed {SEED}"


def _reshape(folder: str, source: str, rows: int) -> tuple[str, str]:
    with _unpacked(source) as stream:
        templates = [
            json.loads(line) for line in stream.read().splitlines() if len(line) >= MIN_ROW_BYTES
        ]

    rng = random.Random(SEED)
    path = Path(folder) / "RS_bench.zst"
    with (
        path.open("wb") as stream,
        zstandard.ZstdCompressor(level=3).stream_writer(stream) as writer,
    ):
        for number in range(rows):
            row = dict(rng.choice(templates))
            score = int(rng.paretovariate(0.6))  # a third at 3 or above
            drawn: dict[str, Any] = {
                "id": f"{number:06x}", "name": f"t3_{number:06x}", "score": score, "num_comments": score // 2,
                "title": _words(rng, 9), "url": f"https://www.{_words(rng, 1)}.com/{_words(rng, 5).replace(' ', '-')}",
                "permalink": f"/r/x/comments/{number:06x}/{_words(rng, 5).replace(' ', '_')}/", "author": _words(rng, 1),
                "selftext": _words(rng, 40) if row["is_self"] else "",
            }  # fmt: skip
            row.update({name: value for name, value in drawn.items() if name in row})
            writer.write(
                json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
            )

    return str(path), f"rows in the shapes of {len(templates)} real ones, seed {SEED}"


def _words(rng: random.Random, count: int) -> str:
    return " ".join(
        "".join(rng.choices("etaoinshrdlu", k=rng.randrange(2, 9))) for _ in range(count)
    )


def _is_ordinary(line: bytes) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and not isinstance(row["score"], list)


def _size(path: str) -> tuple[int, int]:
    """Rows and bytes of a dump, unpacked."""
    rows = num_bytes = 0
    with _unpacked(path) as stream:
        while chunk := stream.read(1 << 20):
            rows += chunk.count(b"\n")
            num_bytes += len(chunk)
    return rows, num_bytes


def _unpacked(path: str) -> Any:
    """The dump as people open it."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    return decompressor.stream_reader(open(path, "rb"), read_across_frames=True, closefd=True)


def ours(path: str) -> Work:
    from crawl.links.config import LinksConfig
    from crawl.links.select import read_dump

    config = LinksConfig(allow_immature_scores=True)

    def work() -> Turn:
        counts: Counter[str] = Counter()
        kept = 0
        with open(path, "rb") as raw:
            for batch in read_dump(raw, name=path, config=config, counts=counts):
                kept += batch.num_rows
        return Turn(counts.total(), {"kept": kept})

    return work


def ours_rows(path: str) -> Work:
    from crawl.links.rows import open_rows
    from crawl.links.submissions import decode_block, whole_number

    def work() -> Turn:
        rows = 0
        kept = []
        with open(path, "rb") as raw:
            for block in open_rows(raw).blocks():
                for s in decode_block(block):
                    rows += 1
                    if s is None:
                        continue
                    if not s.is_self and not s.over_18 and (whole_number(s.score) or 0) >= 3:
                        kept.append((s.id, s.url, s.score, s.subreddit, s.title, s.created_utc))

        return Turn(rows, {"kept": len(kept)})

    return work


def _loop(path: str, loads: Callable[[bytes], Any]) -> Work:
    def work() -> Turn:
        rows = 0
        kept = []
        with _unpacked(path) as stream:
            lines: Iterable[bytes] = io.BufferedReader(stream, 1 << 20)
            for line in lines:
                rows += 1
                try:
                    s = loads(line)
                    if not s["is_self"] and not s["over_18"] and int(s["score"] or 0) >= 3:
                        kept.append(tuple(s.get(name) for name in FIELDS))
                except (ValueError, TypeError, KeyError):
                    continue

        return Turn(rows, {"kept": len(kept)})

    return work


def json_loop(path: str) -> Work:
    return _loop(path, json.loads)


def orjson_loop(path: str) -> Work:
    import orjson

    return _loop(path, orjson.loads)


def polars_frame(path: str) -> Work:
    os.environ["POLARS_MAX_THREADS"] = "1"
    import polars as pl

    text = pl.String()
    schema = {"id": text, "url": text, "score": pl.Float64(), "subreddit": text, "title": text, "created_utc": text,
              "is_self": pl.Boolean(), "over_18": pl.Boolean()}  # fmt: skip

    def work() -> Turn:
        with _unpacked(path) as stream:
            frame = pl.read_ndjson(stream.read(), schema=schema, ignore_errors=True)
        kept = frame.filter(
            ~pl.col("is_self") & ~pl.col("over_18") & (pl.col("score") >= 3)
        ).select(FIELDS)
        return Turn(frame.height, {"kept": kept.height})

    return work


CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("ours-rows", ours_rows, "msgspec"),
    Contestant("json", json_loop),
    Contestant("orjson", orjson_loop, "orjson"),
    Contestant("polars", polars_frame, "polars"),
)

if __name__ == "__main__":
    main()
