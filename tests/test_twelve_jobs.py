"""The jobs of a first day, by the commands and the code that the docs print.

A line of a page is run as it stands: from the page, in the folder of the reader, with a web on
loopback in place of the internet. What differs is in `INSTEAD` and in the environment. A Ray
cluster is `tests/corpus/run/test_ray_jobs.py`; a whole refresh and the model of the tour are soak.
"""

from __future__ import annotations

import glob
import json
import re
import shlex
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from corpus.storage.store import open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from examples.demo.dump import compressed
from shards import export
from shards.reader import open_split
from tests.support import grown_corpus
from webtext import cli, init

ROOT = Path(__file__).parents[1]
BATCH = "2005-07"
STAGES = ("crawl", "clean", "dedup", "shards", "import", "rebuild", "refresh")


@dataclass(frozen=True)
class Reader:
    """A reader of the docs: their folder, and the port of the web."""

    folder: Path
    port: int

    def read(self, page: str, *, heading: str = "", kind: str = "sh") -> list[str]:
        """The code blocks of a page, below a heading up to the next one."""
        text = (ROOT / page).read_text()
        if heading:
            text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
            assert text, f"{page} has no {heading}"
        blocks = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        assert blocks, f"{page}: {heading} has no block of {kind}"
        return [block.replace("8000", str(self.port)) for block in blocks]

    def commands(self, page: str, heading: str, **instead: str) -> list[list[str]]:
        """The `webtext` lines below a heading, as words; `instead` replaces what only a reader knows."""
        found = []
        for line in "\n".join(self.read(page, heading=heading)).splitlines():
            if line.startswith("webtext "):
                found.append(self.words(line, instead))
        assert found, f"{page}: {heading} has no command"
        return found

    def words(self, line: str, instead: dict[str, str]) -> list[str]:
        words = []
        for word in shlex.split(line, comments=True)[1:]:
            for name, value in instead.items():
                word = word.replace(name, value)
            words += sorted(glob.glob(word)) if "*" in word and "SELECT" not in word else [word]
        # One process: the seconds of starting a pool are not what is tried here.
        return [*words, "--workers", "1"] if words[0] in STAGES else words

    def run(self, page: str, heading: str, **instead: str) -> None:
        """Run the commands below a heading, each to its end."""
        for words in self.commands(page, heading, **instead):
            assert cli.main(words) == 0, " ".join(words)


def web() -> dict[str, str]:
    """Pages by address: ordinary ones, a copy, a short one, and one with a passage of a test set."""
    pages = {site.url: site.text for site in grown_corpus.ordinary(24)}
    pages["http://copies.test/story"] = pages["http://site1.test/0/page-1.html"]
    pages["http://short.test/page"] = "Too few words to keep."
    pages["http://leaks.test/page"] = grown_corpus.prose("leaked", 60)
    pages["http://docs.example.com/p1.html"] = grown_corpus.prose("own")
    return pages


class Handler(BaseHTTPRequestHandler):
    """Answers by host and path."""

    pages = web()

    def do_GET(self) -> None:
        address = f"http://{self.headers['Host'].partition(':')[0]}{self.path}"
        text = self.pages.get(address)
        body = b"" if text is None else grown_corpus.Site(address, text).html
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader with the dump, the test sets and the environment that the tour asks for."""
    folder = tmp_path_factory.mktemp("reader")
    sites = [grown_corpus.Site(url) for url in Handler.pages if "docs.example" not in url]
    grown_corpus.write_dump(folder / f"RS_{BATCH}.zst", sites)
    (folder / "testsets").mkdir()
    leaked = " ".join(Handler.pages["http://leaks.test/page"].split("\n")[3].split())
    (folder / "testsets/mine.jsonl").write_text(json.dumps({"text": leaked}) + "\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    given = {
        "CORPUS": str(folder / "my"),
        "CRAWL__FETCH__CONNECT_TO": f'{{"*.test" = "127.0.0.1:{port}"}}',
        "CRAWL__FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "CRAWL__FETCH__DELAY_S": "0",
        "CRAWL__FETCH__LATENCY_FACTOR": "0",
        "CRAWL__FETCH__JITTER_FRAC": "0",
        "CRAWL__LINKS__ALLOW_IMMATURE_SCORES": "true",
        # The prose of the tests is nonsense to a judge of languages.
        "CLEAN__LANGUAGE__MIN_SCORE": "0",
        "CLEAN__EXTRACT__EXTRACTOR": "trafilatura-fast",
        "SHARDS__WRITER__VAL_FRAC": "0.2",
        "TRAIN__MODEL__N_LAYER": "1",
        "TRAIN__MODEL__N_EMBD": "16",
        "TRAIN__MODEL__BLOCK_SIZE": "32",
        "TRAIN__RUNTIME__NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in given.items():
            patch.setenv(f"WEBTEXT_{name}", value)
        yield Reader(folder, port)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def toured(reader: Reader) -> Reader:
    """The tour up to its first snapshot (jobs 1, 4, 5, 6 and 7): links, plan, pages, ..., tokens."""
    for heading in ("Settings of the corpus", "Links", "The plan", "Pages", "Documents"):
        reader.run("docs/tour.md", heading)
    reader.run("docs/tour.md", "Verdicts", **{"/data/testsets": str(reader.folder / "testsets")})
    first, *_ = reader.commands("docs/tour.md", "Tokens and a snapshot")
    assert cli.main(first) == 0
    return reader


def test_the_tour_leads_from_a_dump_to_a_snapshot(toured: Reader) -> None:
    store = open_store(str(toured.folder / "my"))
    assert read_manifest(store, "pages", BATCH).counts["fetched"] == len(Handler.pages) - 1
    dropped = read_manifest(store, "documents", BATCH).counts
    assert dropped["too_short"] == 1
    verdicts = read_manifest(store, "verdicts", BATCH).counts
    assert verdicts["exact_duplicate"] == 1
    assert verdicts["cut:test_overlap"] == 1
    assert json.loads((toured.folder / "my/snapshots/first.json").read_text())["name"] == "first"


@pytest.mark.soak
def test_a_site_of_one_s_own(reader: Reader) -> None:
    (own, *_) = reader.read("docs/operations.md", heading="A site of your own", kind="toml")
    (links,) = reader.read("docs/operations.md", heading="A site of your own", kind="json")
    (reader.folder / "own.toml").write_text(own)
    (reader.folder / "links.jsonl").write_text(links)
    reader.run("docs/operations.md", "A site of your own")
    store = open_store(str(reader.folder / "C"))
    assert read_manifest(store, "pages", "own").counts["fetched"] == 1


def test_warc_files_from_elsewhere(toured: Reader) -> None:
    for number, path in enumerate(sorted((toured.folder / "my/warc").rglob("*.warc.gz"))):
        shutil.copy(path, toured.folder / f"CC-MAIN-{number}.warc.gz")
    (line,) = re.findall(
        r"^ +(webtext crawl .*--warc \S+)", (ROOT / "docs/clean.md").read_text(), re.M
    )
    words = toured.words(line, {})
    assert cli.main(words) == 0
    assert read_manifest(open_store("C"), "links", "B").rows == len(Handler.pages) - 1


def test_tokens_in_other_readers(toured: Reader) -> None:
    split = open_split("my", "first", "train")
    tokens = split.slice(0, split.num_tokens)
    words = tokens[tokens != split.end_of_text]
    for block in toured.read("README.md", kind="python"):
        found: dict[str, object] = {}
        exec(block, found)
        rows = np.asarray(found["rows"]).astype(np.int64).ravel()
        # The last row of each file is filled up with end-of-text.
        assert rows[rows != split.end_of_text].tolist() == words.tolist()

    (line,) = re.findall(
        r"python -m shards.export (.*--to nanogpt --out \S+)", (ROOT / "docs/shards.md").read_text()
    )
    assert export.main(line.split()) == 0
    assert np.fromfile("bin/train.bin", "<u2")[: split.num_tokens].tolist() == tokens.tolist()


def test_the_stream_in_a_loop_of_one_s_own(toured: Reader) -> None:
    (block,) = [
        each
        for each in toured.read("docs/shards.md", kind="python")
        if "TokenDataset" in each and "lightning" not in each and "torchtitan" not in each
    ]
    found: dict[str, object] = {}
    # Loader processes are tried in tests/train/test_data.py.
    exec(block.replace("num_workers=2", "num_workers=0"), found)
    assert tuple(found["inputs"].shape) == tuple(found["targets"].shape) == (8, 128)  # type: ignore[attr-defined]


def test_a_filter_of_one_s_own(toured: Reader) -> None:
    (block,) = toured.read("docs/operations.md", heading="Texts from elsewhere", kind="python")
    exec(block, {})
    *_, words = toured.commands("docs/operations.md", "Texts from elsewhere")
    assert cli.main(words) == 0
    filtered = read_manifest(open_store("filtered"), "links", BATCH)
    assert filtered.rows == read_manifest(open_store("my"), "documents", BATCH).rows


def test_looking_into_a_corpus_and_taking_a_page_down(
    toured: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("my", "kept")
    page = "http://site2.test/0/page-2.html"
    known = {"2024-01": "first", "2024-02": "first", "http://example.org/page": page}
    for words in toured.commands("docs/operations.md", "Looking into it"):
        given = [known.get(word, "kept" if word == "C" else word) for word in words]
        assert cli.main(given) == 0, given
    assert page in capsys.readouterr().out

    one, domain, _ = toured.commands("docs/operations.md", "Taking pages down")
    given = [known.get(word, "kept" if word == "C" else word) for word in one]
    assert cli.main(given) == 2, "it asks, and nobody answers"
    assert cli.main([*given, "--yes"]) == 0
    given = ["site3.test" if word == "example.org" else word for word in domain]
    assert cli.main(["kept" if word == "C" else word for word in given]) == 0
    capsys.readouterr()
    for address in (page, "http://site3.test/0/page-3.html"):
        cli.main(["explain", "--corpus", "kept", address])
        assert "taken down" in capsys.readouterr().out
    assert cli.main(["verify", "--corpus", "kept"]) == 0


@pytest.mark.soak
def test_a_model_and_the_next_month(toured: Reader) -> None:
    """Jobs 9 and 10: train, sample, score; then the report and the refresh of the next month."""
    for words in toured.commands("docs/tour.md", "A model"):
        small = ["train.max_steps=4" if "max_steps" in word else word for word in words]
        assert cli.main(small) == 0
    (extend,) = [
        words for words in toured.commands("docs/train.md", "More steps") if words[0] == "train"
    ]
    more = ["train.max_steps=6" if "max_steps" in word else word for word in extend]
    assert cli.main(more) == 0
    toured.run("docs/tour.md", "The report")

    rows = [{"id": "z1", "url": "http://docs.example.com/p1.html", "title": "p", "score": 5}]
    rows[0] |= {"subreddit": "own", "created_utc": 1_700_000_000}
    Path("RS_2005-08.zst").write_bytes(compressed(rows))
    recipe = (ROOT / "webtext/recipes/weekly.toml").read_text()
    filled = re.sub(r"^corpus = .*$", 'corpus = "my"', recipe, flags=re.M)
    filled = re.sub(r"^dumps = .*$", f'dumps = "{toured.folder}/RS_*.zst"', filled, flags=re.M)
    filled = re.sub(r"^contact = .*$", 'contact = "https://example.org/c"', filled, flags=re.M)
    first, *others = toured.commands("docs/operations.md", "Each month")
    assert cli.main(first) == 0
    Path("webtext.toml").write_text(filled)
    for words in others:
        assert cli.main(words) == 0
    assert "2005-08" in {folder.name for folder in Path("my/tokens").iterdir()}


FILLED = {
    r'^corpus = .*$': 'corpus = "{name}"',
    r'^dumps = .*$': 'dumps = "{folder}/RS_*.zst"',
    r'^contact = .*$': 'contact = "https://example.org/c"',
    r'^indexes = .*$': 'indexes = ["{folder}/captures.warc.gz"]',
    r'^records = .*$': 'records = ""',
    # The captures of the test are as old as its crawl, its links as old as the dump.
    r'^window_days = .*$': 'window_days = 36500',
}  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("name", [each for each in init.recipes() if each != "tiny"])
def test_each_recipe_makes_a_corpus(toured: Reader, name: str) -> None:
    """`tiny` is the demo's."""
    place = toured.folder / "recipes" / name
    place.mkdir(parents=True)
    assert cli.main(["init", name, "--to", str(place / "s.toml")]) == 0
    text = (place / "s.toml").read_text()
    for pattern, value in FILLED.items():
        filled = value.format(name=place / "c", folder=toured.folder)
        text = re.sub(pattern, filled, text, flags=re.M)
    text = text.replace('"documentation-hosts.txt"', f'"{place}/documentation-hosts.txt"')
    (place / "s.toml").write_text(text)
    hosts = place / "documentation-hosts.txt"
    if hosts.exists():
        hosts.write_text("site1.test\nsite2.test\n")

    records = b"".join(
        path.read_bytes() for path in sorted((toured.folder / "my/warc").rglob("*.warc.gz"))
    )
    (toured.folder / "captures.warc.gz").write_bytes(records)

    config = ["--config", str(place / "s.toml"), "--workers", "1"]
    if "[refresh]" in text:
        # WEBTEXT_CORPUS of the other jobs has precedence over the file.
        assert cli.main(["refresh", "--corpus", str(place / "c"), *config]) == 0
    else:
        batch = ["--corpus", str(place / "c"), "--batch", BATCH]
        given = ["--dumps", str(toured.folder / f"RS_{BATCH}.zst")]
        if "[crawl.warc]" in text:
            given = ["--warc", str(toured.folder / "captures.warc.gz")]
        assert cli.main(["crawl", *batch, *config, *given]) == 0
        for stage in ("clean", "dedup", "shards"):
            assert cli.main([stage, *batch, *config]) == 0

    store = open_store(str(place / "c"))
    tokens = read_manifest(store, "tokens", BATCH)
    # FineWeb's rules want stop words and sentences, which the made prose lacks.
    assert (tokens.rows > 0) == ('preset = "fineweb"' not in text)
    pages = read_manifest(store, "pages", BATCH)
    if name == "documentation":
        links = read_manifest(store, "links", BATCH)
        assert links.counts["blocked_host"] > links.rows > 0
    if name == "archives":
        captured = {row["capture"] for row in read_table(store, "pages", BATCH).to_pylist()}
        assert captured - {None} == {"captures.warc.gz"}, captured
    assert pages.counts["fetched"] > 0
