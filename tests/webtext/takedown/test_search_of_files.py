"""The search behind `--prove` reads every kind of file that an export or a corpus has."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from corpus.storage.store import Store, open_corpus
from corpus.tables.takedown_list import Takedown
from corpus.urls import Target, page_identity, target
from shards import run as shards_run
from shards.export import FORMATS
from shards.export import main as export
from shards.reader import open_split
from tests.support import document_corpus
from webtext.takedown import proof
from webtext.takedown.exported_tokens import exported_tokens, is_plain

BATCH = "b"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A snapshot of a dozen documents."""
    root = str(tmp_path_factory.mktemp("search") / "corpus")
    document_corpus.commit_batch(root, BATCH, document_corpus.documents(12))
    words = document_corpus.arguments(root, BATCH, "--set", "shards.tokenizer.source=gpt2")
    assert shards_run.main(words) == 0
    return open_corpus(root)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"datasets"}))
def test_the_tokens_of_every_format_are_read_back(corpus: Store, tmp_path: Path, form: str) -> None:
    assert export(["--corpus", corpus.root, "--snapshot", BATCH, "--to", form, "--out", str(tmp_path)]) == 0  # fmt: skip
    read = {
        path: ids
        for path in sorted(tmp_path.rglob("*"))
        if path.is_file() and (ids := exported_tokens(form, path, path.read_bytes())) is not None
    }
    for name in ("train", "val"):
        split = open_split(corpus.root, BATCH, name)
        mine = [ids for path, ids in read.items() if name in str(path.relative_to(tmp_path))]
        # llm.c has the last end-of-text first; mds fills its last sample up with it.
        found, wanted = (
            np.trim_zeros(np.where(ids == split.end_of_text, 0, ids.astype(np.int64) + 1))
            for ids in (np.concatenate(mine), split.slice(0, split.num_tokens))
        )
        assert np.array_equal(found, wanted)
    others = {path for path in tmp_path.rglob("*") if path.is_file()} - set(read)
    assert all(is_plain(path) for path in others)


def test_pages_are_found_in_compressed_exports(corpus: Store, tmp_path: Path) -> None:
    doc_id = next(
        each.doc_id for each in document_corpus.documents(12) if each.kept and each.text.strip()
    )
    words = ["--corpus", corpus.root, "--snapshot", BATCH]
    assert export([*words, "--to", "datasets", "--out", str(tmp_path)]) == 0
    record = Takedown(id="t", asked=[], when="", url_keys={doc_id: ""})
    receipt = proof.prove(corpus, record)
    found = [line for line in receipt.findings if str(tmp_path) in line]
    assert any("column doc_id" in line for line in found)


def test_a_file_of_an_unknown_format_counts_as_not_searched(corpus: Store, tmp_path: Path) -> None:
    record = Takedown(id="t", asked=[], when="", url_keys={"0" * 32: "gone.test/page"})
    receipt = proof.Receipt(takedown="t", when="", salt="", pages=[])
    (tmp_path / "train.zst").write_bytes(b"compressed")
    (tmp_path / "README.md").write_text("nothing", "utf-8")
    proof._Search(corpus, record, receipt).export({"format": "own", "place": str(tmp_path)})
    assert len(receipt.not_searched) == 1
    assert "train.zst" in receipt.not_searched[0]
    assert receipt.render().endswith("nothing of it was found in what was searched")


def test_records_behind_damage_are_searched(corpus: Store) -> None:
    """A search that ends at the first damaged record says that nothing was found."""
    url = "http://gone.test/page?a=\\b"
    page = target(url)
    assert isinstance(page, Target)
    identity = page_identity(page)
    whole = [_member("http://other.test/"), _member(url)]
    record = Takedown(id="t", asked=[], when="", url_keys={identity.doc_id: identity.url_key})
    receipt = proof.Receipt(takedown="t", when="", salt="", pages=[])
    search = proof._Search(corpus, record, receipt)
    damaged = whole[0][:-30] + bytes(30)
    search.file("warc/b/part-00000-00000.warc.gz", whole[0] + damaged + whole[1])
    assert [line.rpartition(": ")[2] for line in receipt.findings] == ["a record of a page"]
    assert len(receipt.not_searched) == 1

    search.file("reports/x.json", b'{"page": "gone.test/page?a=\\\\b"}')
    assert len(receipt.findings) == 2, "JSON writes a backslash twice"


def _member(url: str) -> bytes:
    block = b"HTTP/1.1 200 OK\r\n\r\nA page"
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}"
    )
    return gzip.compress(head.encode() + b"\r\n\r\n" + block + b"\r\n\r\n", mtime=0)
