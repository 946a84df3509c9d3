"""Readers of files that come from strangers, each fed with the bytes of one file of a corpus.

`tests/webtext/strangers/test_fuzz.py` runs them in the suite with a few mutations each, and
`tests/support/fuzz.py` for hours. A target may end in an error of ours. Anything else is a find, and so is
a change beside the corpus.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from xxhash import xxh3_128_hexdigest

from corpus.config import STAGES, load_config
from corpus.errors import InputError, WebtextError
from corpus.evaluation_sets.files import find_testsets, load_testset
from corpus.run.command import corpus_settings
from corpus.snapshots import file_lists
from corpus.snapshots.retirement import retire, retirement
from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables import generations
from corpus.tables.manifest import find_manifest_in
from corpus.tables.parquet import iter_tables, row_in_file
from corpus.tables.takedown_list import Takedown, load_forgotten, write_takedown
from crawl.warc.archives import read_captures
from shards.tokenizer.encode import load_tokenizer
from tests.support import foreign_warc, hostile_corpus
from train.checkpoints import load
from train.checkpoints.checkpoint import Checkpoints, check_model_shape, load_weights
from train.checkpoints.run_folder import RunFolder
from train.config import RuntimeConfig
from train.gpt2.hf_config import hf_config
from train.gpt2.huggingface import check_tokenizer, hf_weights, read_hf, read_hf_shape
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import join_world
from webtext import import_documents
from webtext.inspection.query import query
from webtext.publish import facts
from webtext.reports import html, removals
from webtext.settings import settings_model

SHAPE = Shape(1, 1, 4, 8, 10)
CHECKPOINT = "runs/r/checkpoints/step-00000001"
BATCH = "2024-01"
SNAPSHOT = "2024-02"


@dataclass(frozen=True)
class Target:
    """One kind of file, and everything that opens it."""

    path: str
    """A pattern below the corpus; its first match is replaced."""
    read: Callable[[Store, Path], object]
    is_json: bool = True


def identity(max_steps: int) -> dict[str, Any]:
    """The identity of the run `r`, or of the same run with more steps."""
    return {
        "shape": {"n_layer": 1, "n_head": 1, "n_embd": 4, "block_size": 8, "vocab_size": 10},
        "end_of_text": 0,
        "settings": {"max_steps": max_steps, "model": {"document_mask": True}},
    }


def prepare(root: Path) -> None:
    """Add the files that a grown corpus lacks: a checkpoint, a retirement, a take-down and settings."""
    store = open_store(str(root))
    torch.manual_seed(0)
    tensors = {f"model.{name}": tensor for name, tensor in GPT2(SHAPE).state_dict().items()}
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    Checkpoints(store, "r").save(1, tensors, {"val_loss": 1.0}, world, keep_last=1)
    retire(store, "2024-01", "pruned", "a test", SNAPSHOT)
    record = Takedown(
        id="20240101T000000Z-00000000",
        asked=["http://gone.test/"],
        when="2024-01-01T00:00:00+00:00",
        url_keys={"0" * 32: "gone.test/"},
        domains=["gone.test"],
        why="a test",
    )
    write_takedown(store, record)
    (root / "webtext.toml").write_text('[clean]\nmarks = true\n[crawl.links]\npreset = "webtext"\n')
    store.write_json("runs/r/config.json", {"identity": identity(3), "snapshot": SNAPSHOT})
    store.write_json("runs/r/scores.json", {"sets": {"lambada": {"ppl": 35.1}}, "step": 1})
    store.write_bytes("runs/r/scores.md", b"| set | score |\n| --- | --- |\n| lambada | 35.1 |\n")
    lines = [{"step": step, "loss": 9.0 / step, "val_loss": 9.5 / step} for step in (1, 2, 3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    store.write_bytes("runs/r/metrics.jsonl", text.encode())
    _prepare_foreign(root)
    (root / "set.jsonl").write_text('{"text": "some words of a set"}\n{"text": "more of them"}\n')


def _prepare_foreign(root: Path) -> None:
    """Files that commands read beside a corpus: an archive, test sets, a Hugging Face folder."""
    html = {"Content-Type": "text/html"}
    pages = [(f"http://a.test/{n}", "200 OK", b"<p>Some words</p>", html) for n in range(2)]
    (root / "foreign.warc.gz").write_bytes(foreign_warc.archive(pages, compressed=True))
    rows = [{"text": "some words", "url": "http://a.test/", "id": 1, "date": "2024-01-01"}] * 3
    pq.write_table(pa.Table.from_pylist(rows), root / "set.parquet")
    (root / "rows").mkdir()
    (root / "rows/import.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    vocabulary = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
    (root / "hf").mkdir()
    (root / "hf/config.json").write_text(json.dumps(hf_config(SHAPE, 0)))
    (root / "hf/tokenizer.json").write_text(json.dumps(vocabulary))
    save_file(hf_weights(GPT2(SHAPE)), root / "hf/model.safetensors", metadata={"format": "pt"})


def _manifest(store: Store, path: Path) -> None:
    folder = str(path.parent.relative_to(store.root))
    manifest = find_manifest_in(store, folder)
    if manifest is not None:
        # What a rebuild deletes: the parts of the generation before.
        generations.retire_files(store, folder, [part.file for part in manifest.parts])
        generations.settle(store, folder, manifest)


def _file_list(store: Store, path: Path) -> None:
    data = path.read_bytes()
    files = file_lists._parse(data, xxh3_128_hexdigest(data), str(path))
    for split in files.splits.values():
        for file in split:
            for key in (file.path, file.spans_path):
                # What a take-down deletes.
                assert key.startswith((f"tokens/{files.batch}/", f"spans/{files.batch}/")), key
                store.exists(key)


def _testset(store: Store, path: Path) -> None:
    for file in find_testsets([str(path)]):
        load_testset(file)


def _settings(store: Store, path: Path) -> None:
    text = corpus_settings(store.root)
    for stage in STAGES:
        load_config(settings_model(stage), stage, corpus_toml=text)


def _weights(store: Store, path: Path) -> None:
    checkpoints = Checkpoints(store, "r")
    with contextlib.suppress(WebtextError):
        checkpoints.latest()
    check_model_shape(SHAPE, path.parent)
    load_weights(GPT2(SHAPE), path.parent)


def _record(store: Store, path: Path) -> None:
    checkpoints = Checkpoints(store, "r")
    for checkpoint in checkpoints.all():
        checkpoints.damage(checkpoint)
        with checkpoints.local_copy(checkpoint) as folder:
            assert folder.is_relative_to(store.root)


def _run(store: Store, path: Path) -> None:
    html._run(store, "r")
    folder = RunFolder(store, "r")
    with contextlib.suppress(WebtextError):
        folder.extend(identity(5), {})
    if folder.read_identity() is not None:
        load.run_settings(folder.read("config.json"), str(path))


def _reports(store: Store, path: Path) -> None:
    removals.section(store, SNAPSHOT)
    facts.gather(store, read_snapshot(store, SNAPSHOT))


def _rows(store: Store, path: Path) -> None:
    key = str(path.relative_to(store.root))
    for piece in iter_tables(store, key):
        piece.slice(0, 10).to_pylist()
    if not key.startswith("tokens/"):
        row_in_file(store, key, "8" * 32)


def _query(store: Store, path: Path) -> None:
    table = path.relative_to(store.root).parts[0]
    for sql in (
        f"SELECT * FROM {table} LIMIT 20",
        f"SELECT url, length(text), score FROM {table} WHERE doc_id > '4' AND language_score > 0.1 ORDER BY ALL",
        f"SELECT language, count(*), max(fetched_at) FROM {table} WHERE batch = '{BATCH}' GROUP BY ALL",
    ):
        try:
            query(store, sql).to_pylist()
        except InputError as error:
            # The statement is right: a damaged part is named, by our reader and not by DuckDB.
            if str(path) not in str(error):
                raise AssertionError(f"another error than of the part: {error}") from error


def _tokenizer(store: Store, path: Path) -> None:
    tokenizer = load_tokenizer(store)
    tokenizer.encode("Some words, and 3 more: \u00e9\u4e2d.")


def _warc(store: Store, path: Path) -> None:
    with path.open("rb") as stream:
        for capture in read_captures(stream, Counter()):
            assert capture.record


def _imported(store: Store, path: Path) -> None:
    columns = import_documents.Columns("text", "url", "id", "date")
    with tempfile.TemporaryDirectory() as folder:
        is_parquet = path.suffix == ".parquet"
        import_documents._write_warc(str(path), columns, is_parquet, Path(folder), 0)


def _parquet_set(store: Store, path: Path) -> None:
    _testset(store, path)
    _imported(store, path)


def _json_set(store: Store, path: Path) -> None:
    _imported(store, path)
    _testset(store, path)


def _hugging_face(store: Store, path: Path) -> None:
    if path.name == "tokenizer.json":
        check_tokenizer(path.parent, store.read_bytes("tokenizer/tokenizer.json"))
    read_hf_shape(path.parent)
    read_hf(path.parent)


TARGETS: Mapping[str, Target] = {
    "corpus": Target("corpus.json", lambda store, path: open_corpus(store.root)),
    "manifest": Target("tokens/2024-01/_manifest.json", _manifest),
    "snapshot": Target(
        f"snapshots/{SNAPSHOT}.json", lambda store, path: read_snapshot(store, SNAPSHOT)
    ),
    "file_list": Target("snapshots/files/*.json", _file_list),
    "retirement": Target(
        "snapshots/retired/*.json", lambda store, path: retirement(store, "2024-01")
    ),
    "takedown": Target(
        "forgotten/*.json",
        lambda store, path: load_forgotten(store).has_page("http://x.gone.test/y"),
    ),
    "tokenizer": Target("tokenizer/source.json", lambda store, path: load_tokenizer(store)),
    "checkpoint": Target(f"{CHECKPOINT}/checkpoint.json", _record),
    "tensors": Target(f"{CHECKPOINT}/tensors.json", _weights),
    "safetensors": Target(f"{CHECKPOINT}/rank-00000.safetensors", _weights, is_json=False),
    "run": Target("runs/r/config.json", _run),
    "scores": Target("runs/r/scores.json", _run),
    "metrics": Target("runs/r/metrics.jsonl", _run, is_json=False),
    "duplicates": Target(f"reports/dedup-{SNAPSHOT}.json", _reports),
    "overlap": Target(f"reports/overlap-{SNAPSHOT}.json", _reports),
    "spans": Target("spans/2024-01/train/*.parquet", _rows, is_json=False),
    "tokens": Target("tokens/2024-01/train/*.parquet", _rows, is_json=False),
    "documents": Target("documents/2024-01/*.parquet", _rows, is_json=False),
    "testset": Target("set.jsonl", _testset, is_json=False),
    "settings": Target("webtext.toml", _settings, is_json=False),
    "query": Target("documents/2024-01/*.parquet", _query, is_json=False),
    "tokenizer_json": Target("tokenizer/tokenizer.json", _tokenizer),
    "warc": Target("foreign.warc.gz", _warc, is_json=False),
    "parquet_set": Target("set.parquet", _parquet_set, is_json=False),
    "json_import": Target("rows/import.jsonl", _json_set, is_json=False),
    "hf_config": Target("hf/config.json", _hugging_face),
    "hf_tokenizer": Target("hf/tokenizer.json", _hugging_face),
    "hf_weights": Target("hf/model.safetensors", _hugging_face, is_json=False),
}


class Fuzzed:
    """A target on one corpus, which is as before after every run."""

    def __init__(self, name: str, root: Path) -> None:
        self._target = TARGETS[name]
        self._store = open_store(str(root))
        self._outside = hostile_corpus.plant_canary(root)
        self.path = sorted(root.glob(self._target.path))[0]
        self.seed = self.path.read_bytes()
        self._folder = {each: Path(each).read_bytes() for each in _files(self.path.parent)}
        self._beside = self._look_beside()

    def run(self, data: bytes) -> None:
        """Put the bytes in the place of the file, and read it. Raises: anything that is a find."""
        document = _parsed(data) if self._target.is_json else None
        if document is None:
            self.path.write_bytes(data)
        elif self.path.parent.name == "files":
            self.path.write_bytes(json.dumps(document).encode("utf-8", "replace"))
        else:
            hostile_corpus.write(self.path, document)

        try:
            with contextlib.suppress(WebtextError):
                self._target.read(self._store, self.path)
            assert self._look_beside() == self._beside, "something beside the corpus has changed"
        finally:
            self._restore()

    def mutated(self, data: bytes, rng: random.Random) -> bytes:
        """One change: a value of a JSON document, or some bytes."""
        document = _parsed(data) if self._target.is_json else None
        if document is not None and rng.random() < 0.7:
            place = rng.choice([*hostile_corpus.leaves(document)])
            value = rng.choice(hostile_corpus.VALUES)
            return json.dumps(hostile_corpus.put(document, place, value)).encode()

        changed = bytearray(data or b"{}")
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed))
            if rng.random() < 0.3:
                # The end of a Parquet file and the beginning of safetensors hold the structure.
                at = len(changed) - 1 - rng.randrange(min(len(changed), 400))
            changed[at] = rng.choice([0, 1, 0x22, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        if rng.random() < 0.1:
            del changed[rng.randrange(len(changed)) :]
        return bytes(changed)

    def _restore(self) -> None:
        present = set(_files(self.path.parent))
        for added in present - self._folder.keys():
            os.unlink(added)
        for path, data in self._folder.items():
            if path == str(self.path) or path not in present:
                Path(path).write_bytes(data)

    def _look_beside(self) -> dict[str, tuple[int, int]]:
        """Names, sizes and times of everything beside the corpus."""
        beside = {}
        for folder in (Path(self._store.root).parent, self._outside):
            for each in os.scandir(folder):
                if each.path != str(self._store.root):
                    status = each.stat(follow_symlinks=False)
                    beside[each.path] = (status.st_size, status.st_mtime_ns)
        return beside


def _files(folder: Path) -> Iterator[str]:
    """All files below a folder. Strings, since paths take most of the time of a fuzzer's run."""
    for base, _, names in os.walk(folder):
        yield from (os.path.join(base, name) for name in names)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
