"""Recall, false alarms and cost of the judge of soft failures: `python -m bench.clean.soft_failures`.

    python -m bench.clean.soft_failures --data DIR [--held]

DIR holds `softfail`, `extraction` and `extraction2` (`bench.clean.soft_failure_material`). A page is
judged under an address below a home page, since its own is often one that everybody knows. With
`--held`, a model fitted on each half of the families judges the other half; sentences and other
rules are the package's. Time is processor time of the judge alone, without the extractor.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from bench.clean.soft_failure_material import Labelled, genuine_pages, labelled_pages
from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from clean.soft_failures import judge as judges
from clean.soft_failures.addresses import StoredAnswer
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.model import LinearJudge, model

# Pages of a kind from which its share is shown.
LEAST_EXAMPLES = 10
# Addresses that are asked for because they are the same everywhere.
_COMMON = ("robots.txt",)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one JSON object of counts, by kind, and the cost of a page."""
    parser = argparse.ArgumentParser(prog="bench.clean.soft_failures")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--held", action="store_true", help="fit on one half, judge the other")
    args = parser.parse_args(argv)

    pages = [*labelled_pages(args.data), *genuine_pages(args.data)]
    judges_of_halves = halves(pages) if args.held else {0: model(), 1: model()}
    print(json.dumps(measure(pages, judges_of_halves), indent=1))
    return 0


def halves(pages: Sequence[Labelled]) -> dict[int, LinearJudge]:
    """The judge of each half of the families, fitted on the other one."""
    from tools import fit_soft_failures as fitting

    rows = fitting.rows_of(pages)
    fitted = {}
    for half in (0, 1):
        weights, bias = fitting.fit([row for row in rows if half_of(row.family) != half])
        fitted[half] = LinearJudge(weights, bias)
    return fitted


def half_of(family: str) -> int:
    """The half that a family is in."""
    return zlib.crc32(family.encode()) % 2


def measure(pages: Sequence[Labelled], judge_of: dict[int, LinearJudge]) -> dict[str, object]:
    """Counts by kind: pages, found ones, those that would be documents, and found ones of these."""
    unjudged = document_function(CleanConfig.model_validate({"soft_failures": {"remove": False}}))
    config = SoftFailuresConfig()
    counts: dict[str, Counter[str]] = {}
    lost, times = [], []

    for page in pages:
        url = address(page.url)
        is_document = isinstance(unjudged(Page(url, url, "text/html", None, page.body)), Document)
        extracted = page.page()
        judge = judge_of[half_of(page.family)]
        with mock.patch.object(judges, "model", return_value=judge):
            began = time.process_time()
            found = judges.judge(StoredAnswer(url, url), extracted, config)
            times.append(time.process_time() - began)

        of = counts.setdefault(page.kind or "genuine", Counter())
        of.update(pages=1, found=found is not None, documents=is_document)
        of["found_documents"] += is_document and found is not None
        of["named_right"] += found is not None and found.kind == page.kind
        if found is not None and is_document and not page.failure:
            lost.append(f"{page.id} {found.kind}: {found.detail}")

    total = sum((of for kind, of in counts.items() if kind != "genuine"), Counter[str]())
    milliseconds = 1000 * np.array(times[1:])
    return {
        "failures": dict(total),
        "kinds": {kind: dict(of) for kind, of in sorted(counts.items())},
        "recall": {
            kind: round(of["found"] / of["pages"], 3)
            for kind, of in sorted(counts.items())
            if kind != "genuine" and of["pages"] >= LEAST_EXAMPLES
        },
        "genuine_lost_one_in": counts["genuine"]["documents"] // max(1, len(lost)),
        "lost": lost,
        "ms_a_page": round(float(milliseconds.mean()), 3),
        "ms_median": round(float(np.median(milliseconds)), 3),
    }


def address(url: str) -> str:
    """An address below the home page of a page's host."""
    for name in _COMMON:
        url = url.replace(name, "2012/05/some-page")
    return url + "2012/05/some-page" if url.endswith("/") and url.count("/") == 3 else url


if __name__ == "__main__":
    raise SystemExit(main())
