"""The report of a stranger's corpus stays inert in a real browser, whatever its strings hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.storage.store import open_store
from tests.support import fuzz_targets, grown_corpus
from tests.support.counting_server import BROWSER, VECTORS, Counter, counting
from tests.support.hostile_corpus import redigest, write
from webtext.reports import html

# Ends whatever it may be put into: text, a quoted or a bare attribute, a style, a script, a comment.
BREAKS = '" onmouseover="document.title=\'ran\'" x=\'"></style></script></pre></title>-->'
KEPT_COLUMNS = ("doc_id", "duplicate_of", "reason", "warc_file", "content_hash")


def poison(value: Any, evil: str) -> Any:
    """The value with the hostile markup in every string and key of it."""
    if isinstance(value, str):
        return value + evil
    if isinstance(value, list):
        return [poison(each, evil) for each in value]
    if isinstance(value, dict):
        return {key: poison(each, evil) for key, each in value.items()}
    return value


def poison_rows(root: Path, evil: str) -> None:
    """Put the markup into the texts, addresses and domains of every page."""
    for table in ("links", "documents", "documents_dropped"):
        for part in (root / table).rglob("*.parquet"):
            rows = pq.read_table(part)
            for number, field in enumerate(rows.schema):
                if field.type == pa.string() and field.name not in KEPT_COLUMNS:
                    values = [value and value + evil for value in rows[field.name].to_pylist()]
                    rows = rows.set_column(number, field, pa.array(values, pa.string()))
            pq.write_table(rows, part)
            redigest(part)


def poison_records(root: Path, evil: str) -> None:
    """Put it into manifests' settings and reasons, the reports, and the files of a run."""
    for path in root.rglob("_manifest.json"):
        document = json.loads(path.read_bytes())
        document["config"] = poison(document["config"], evil) | {evil: evil}
        document["counts"] |= {f"dropped {evil}": 3}
        document["code_version"] += evil
        document["details"] |= {"who": evil}
        write(path, document)
    for path in (root / "reports").glob("*.json"):
        path.write_text(json.dumps(poison(json.loads(path.read_bytes()), evil)))

    run = root / "runs" / "r"
    (run / "samples").mkdir()
    (run / "samples" / "step-1.txt").write_text(f"{evil}\n\n=====\n\n{evil}")
    (run / "scores.md").write_text(f"| {evil} |\n| --- |\n| {evil} |\n")
    (run / "scores.json").write_text(json.dumps({"sets": {evil: {"ppl": evil}}}))
    # A folder's name can hold anything but a slash.
    short = "<img src=x onerror=document.title='ran'>"
    run.rename(run.with_name(short))


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_no_script_of_the_report_runs_and_no_request_leaves(
    fates_copy: grown_corpus.Fates, tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    root = Path(fates_copy.root)
    fuzz_targets.prepare(root)
    with counting() as home:
        evil = BREAKS + VECTORS.format(home=home)
        poison_rows(root, evil)
        poison_records(root, evil.replace("\n", " "))
        path = Path(html.write(open_store(str(root))))
        text = path.read_text("utf-8")
        assert text.count(f"{home}/img") > 20, "it is shown"

        requests: list[str] = []
        with playwright.sync_playwright() as tool:
            browser = tool.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("request", lambda request: requests.append(request.url))
            page.goto(path.as_uri(), wait_until="load")
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            page.mouse.move(300, 300)
            page.wait_for_timeout(200)
            title = page.title()
            elements = page.evaluate(
                "[...document.querySelectorAll('script,img,iframe,object,embed,form,link,base,video,audio')].length"
            )
            handlers = page.evaluate(
                "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
                ".filter(a => a.name.startsWith('on') || /javascript:/i.test(a.value)).map(a => a.name)"
            )
            browser.close()

    assert "ran" not in title
    assert requests == [path.as_uri()]
    assert Counter.seen == []
    assert elements == 0
    assert handlers == []
