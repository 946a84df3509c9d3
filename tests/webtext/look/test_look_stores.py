"""Views answer on an object store, while a batch is being written, and when a table is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from corpus.storage.store import open_store
from corpus.tables.manifest import find_manifest
from tests.support import grown_corpus
from tests.webtext.look.test_look_browser import view_paths
from webtext.look.app import Origins, look_app

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ORIGINS = Origins("http://127.0.0.1:1", "secret")
# Tables of a batch in the order in which stages write them.
WRITTEN = ("links", "pages", "documents", "documents_dropped", "verdicts", "tokens")


def test_every_view_is_the_same_on_an_object_store(
    fates: grown_corpus.Fates, s3_bucket: str
) -> None:
    there = open_store(f"{s3_bucket}/corpus")
    for path in Path(fates.root).rglob("*"):
        if path.is_file():
            there.write_bytes(str(path.relative_to(fates.root)), path.read_bytes())

    here, away = (
        TestClient(look_app(store, ORIGINS), base_url="http://127.0.0.1")
        for store in (fates.store, there)
    )
    for name, path in view_paths(fates).items():
        shown = away.get(path)
        expected = here.get(path).text.replace(fates.store.root, there.root)
        assert shown.text == expected, name
    label = {"question": "soft_failure", "doc_id": "a", "answer": "page"}
    assert away.post("/label", data=label).status_code == 200
    assert list(there.files("reports/labels"))


def test_views_answer_after_every_stage_of_a_batch(fates_copy: grown_corpus.Fates) -> None:
    """The second batch loses its tables from the last to the first; parts of the next stay."""
    client = TestClient(look_app(fates_copy.store, ORIGINS), base_url="http://127.0.0.1")
    paths = view_paths(fates_copy)
    for table in reversed(WRITTEN):
        # A stage that is running has written parts and no manifest.
        (Path(fates_copy.root) / table / "2024-02" / "_manifest.json").unlink()
        for name, path in paths.items():
            if name != "unknown":
                assert client.get(path).status_code == 200, (table, name)
        shutil.rmtree(Path(fates_copy.root) / table / "2024-02")


def test_a_table_that_is_replaced_while_it_is_read_asks_for_a_reload(
    fates_copy: grown_corpus.Fates,
) -> None:
    client = TestClient(look_app(fates_copy.store, ORIGINS), base_url="http://127.0.0.1")
    manifest = find_manifest(fates_copy.store, "verdicts", "2024-01")
    assert manifest is not None
    for part in manifest.parts:
        (Path(fates_copy.root) / "verdicts" / "2024-01" / part.file).unlink()
    answer = client.get("/sample/verdicts/kept")
    assert (answer.status_code, "reload" in answer.text) == (503, True)
