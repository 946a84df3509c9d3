"""Labelled pages as the archives that fits read: `webtext look --export-labels DIR`.

DIR/gold_labels.jsonl.zst, DIR/pages_labels.tar.zst    pages whose extraction was judged right, with
                                                       their text (`tools.fit_extractor --data DIR`)
DIR/softfail/softfail_labels.tar.zst                   pages and soft failures
                                                       (`tools.fit_soft_failures --data DIR`)
DIR/labels.jsonl                                       all answers, those to pairs among them

Only pages that the corpus still has are written, so a page that was taken down is not among them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from corpus.storage.store import Store
from webtext.inspection.explain import trace
from webtext.inspection.page_history import PageHistory
from webtext.look import life
from webtext.look.labels import ANSWERS, Labels
from webtext.stages import needing

SOURCE = "labels"
"""The name of these pages among the sources of a fit."""


class LabelledPage(NamedTuple):
    """A stored page that a person has judged."""

    answer: str
    history: PageHistory
    html: bytes

    def row(self) -> dict[str, Any]:
        """The fields that both fits read."""
        link = self.history.link or {}
        return {
            "id": self.history.doc_id,
            "source": SOURCE,
            "url": link.get("url"),
            "domain": link.get("domain"),
            "title": link.get("title"),
            "file": f"pages/{self.history.doc_id}.html",
        }


def export_labels(store: Store, labels: Labels, folder: Path) -> Counter[str]:
    """Write the archives; the number of pages or pairs by question."""
    answers = {question: labels.latest(question) for question in ANSWERS}
    right = [
        page
        for page in _pages(store, answers["extraction"].values())
        if page.answer == "right" and page.history.document is not None
    ]
    judged = list(_pages(store, answers["soft_failure"].values()))

    (folder / "softfail").mkdir(parents=True, exist_ok=True)
    gold = [
        page.row() | {"kind": "full", "text": (page.history.document or {})["text"]}
        for page in right
    ]
    (folder / "gold_labels.jsonl.zst").write_bytes(_compressed(_lines(gold)))
    (folder / "pages_labels.tar.zst").write_bytes(_archive(right))
    kinds = [
        page.row()
        | {
            "kind": "ok" if page.answer == "page" else "failure",
            "family": f"domain:{page.row()['domain']}",
        }
        for page in judged
    ]
    archive = _archive(judged, ("labels.jsonl", _lines(kinds)))
    (folder / "softfail" / "softfail_labels.tar.zst").write_bytes(archive)

    everything = [
        row | {"labelled_at": row["labelled_at"].isoformat()}
        for rows in answers.values()
        for row in rows.values()
    ]
    (folder / "labels.jsonl").write_bytes(_lines(everything))
    return Counter(
        {
            "extraction": len(right),
            "soft_failure": len(judged),
            "pair": len(answers["pair"]),
        }
    )


def _pages(store: Store, answers: Iterable[dict[str, Any]]) -> Iterable[LabelledPage]:
    """The labelled pages that have a stored HTML response, in the order of their ids."""
    with needing("clean"):
        from clean.page_source.decode import decode

    for row in sorted(answers, key=lambda each: str(each["doc_id"])):
        history = trace(store, row["doc_id"])
        response = life.stored_html(store, history)
        if response is not None:
            text = decode(response.body, life.content_type(response)).text
            # Fits see no headers. The mark outweighs whatever encoding the page names itself.
            html = text.encode("utf-8-sig", "replace")
            yield LabelledPage(row["answer"], history, html)


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()


def _archive(pages: Iterable[LabelledPage], *first: tuple[str, bytes]) -> bytes:
    """A compressed archive. Its bytes depend on the pages alone."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in (*first, *((page.row()["file"], page.html) for page in pages)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return _compressed(stream.getvalue())


def _compressed(data: bytes) -> bytes:
    with needing("crawl"):
        import zstandard
    return bytes(zstandard.ZstdCompressor().compress(data))
