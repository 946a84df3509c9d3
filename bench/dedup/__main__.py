"""Near-duplicates beside datasketch, rensa and datatrove: `python -m bench.dedup [--part PART]`.

- `whole`: chapters of ten books in up to 13 editions, with every pair's exact Jaccard similarity of
  5-word shingles. All contestants use 14 bands of 8 and one core, and remove all but one of their
  near-duplicates. `ours` includes exact verification and the greedy choice, which the others lack;
  `ours-numpy` has no compiled code. datasketch and rensa keep a page unless the index of kept pages
  returns one; datatrove runs its four stages. `recall` is the share of pairs at or above .75 with
  at least one page removed; `precision` is the share of removed pages in such a pair.
- `signatures`: signatures alone, of pages of 2 KB. Slow contestants sign fewer pages.
- `lsh`: from a million synthetic signatures, a quarter of them near others, to survivors, without
  verification. Slow contestants get fewer. datatrove reads its own files, written before.
- `stage`: ours alone, tables on disk to committed verdicts in this process, on pages of 2 KB of
  prose, a quarter of them near copies. `tenth_frac` is the CPU time of a second batch of a tenth as
  a share of the first's, `hundredth_frac` that of a third batch of a hundredth.
- `frame`: ours alone, pages of 300 words with a common frame, at similarity .70 and .739. They meet by
  the thousand and all stay: the most expensive case for a threshold of .75.
- `against`: ours alone, 5,000 such pages with 50,000 others known from a Parquet file.
- `made`: ours alone, in two workers, `--pages` made pages: a tenth of one frame at similarity .739,
  a third of the others in families of five; with and without passages.
"""

from __future__ import annotations

from typing import Any

from bench.dedup import lsh, made, signatures, stage, whole
from bench.dedup.material import chapters
from bench.measure import arguments, compare, show

PARTS = {
    "whole": whole.CONTESTANTS,
    "signatures": signatures.CONTESTANTS,
    "lsh": lsh.CONTESTANTS,
    "stage": stage.STAGE,
    "against": stage.AGAINST,
    "frame": stage.FRAMES,
    "made": made.MADE,
}


def main() -> None:
    """Run the contestants of one part."""
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=PARTS, default="whole", help="default: whole")
    parser.add_argument(
        "--pages",
        type=int,
        default=1_000_000,
        help="lsh: signatures; made: pages (default: 1,000,000)",
    )
    parser.add_argument(
        "--only", nargs="*", help="contestants to run (default: all that are installed)"
    )
    args = parser.parse_args()

    chosen = [each for each in PARTS[args.part] if not args.only or each.name in args.only]
    source, description = _input(args.part, args.pages)
    result = compare(
        "dedup", chosen, source, description=description, unit="docs/s", rounds=args.rounds
    )
    show(result, as_json=args.json)


def _input(part: str, num_signatures: int) -> tuple[Any, str]:
    """The input of a part, and its description."""
    if part == "lsh":
        return num_signatures, f"{num_signatures:,} synthetic signatures"
    if part == "made":
        return num_signatures, f"{num_signatures:,} made pages, a tenth of one frame"
    if part in ("stage", "against"):
        count = stage.STAGE_PAGES
        return count, f"{count:,} pages of 2 KB of prose/dev, a quarter near copies"
    if part == "frame":
        count = stage.FRAME_PAGES
        return count, f"{count:,} pages of 300 words, most of them the same on all"

    folder, description = chapters()
    return folder, f"pages of 2 KB of {description}" if part == "signatures" else description


if __name__ == "__main__":
    main()
