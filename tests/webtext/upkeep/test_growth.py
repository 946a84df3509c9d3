"""Costs of a corpus that grows month by month: reads are linear in its batches; left-overs go."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.storage.interface import Store
from corpus.storage.store import open_store
from tests.support import big_corpus, grown_corpus
from webtext.reports import status
from webtext.takedown import command as forget
from webtext.upkeep import prune
from webtext.verify import command as verify


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    """The same corpus with 4 and with 12 batches, and a snapshot after each."""
    small = big_corpus.build(tmp_path_factory.mktemp("small"), 4, 2)
    large = str(shutil.copytree(small.root, tmp_path_factory.mktemp("large") / "corpus"))
    return [small, big_corpus.extended(open_store(large), 4, 12)]


@pytest.mark.parametrize(
    "command",
    [
        lambda store: status.main(["--corpus", store.root, "--json"]),
        lambda store: prune.main(["--corpus", store.root, "--keep", "2"]),
    ],
    ids=["status", "prune"],
)
def test_reads_are_linear_in_batches(
    corpora: list[Store], command: Callable[[Store], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snapshot repeated its whole past, and each was compared with all manifests anew."""
    counts, sizes = [], []
    for store in corpora:
        read = [0, 0]

        def counted(
            self: Store,
            path: str,
            real: Callable[..., bytes] = Store.read_bytes,
            read: list[int] = read,
        ) -> bytes:
            data = real(self, path)
            read[0] += 1
            read[1] += len(data)
            return data

        with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.setattr(Store, "read_bytes", counted)
            assert command(store) == 0
        counts.append(read[0])
        sizes.append(read[1])
    assert counts[1] <= 3.3 * counts[0], counts
    # Inputs of a manifest and batches of a snapshot are lists of all earlier ones.
    assert sizes[1] <= 5 * sizes[0], sizes


def test_files_of_killed_workers_are_named_and_swept(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a file held the row of a page after its take-down."""
    root, store = Path(fates_copy.root), fates_copy.store
    left = root / "documents/2024-01/.tmp-part-00001.parquet-77-abcd"
    segment = root / "warc/2024-01/.tmp-part-00001-00000.warc.gz-77-abcd"
    busy = root / "signatures/2024-02/.tmp-part-00000.parquet-78-abcd"
    for path in (left, segment, busy):
        path.write_bytes(b"PAR1 secret")
    store.write_bytes("work/2024-02/dedup.signatures-x/map/00000.json", b"{}")
    found = verify.verify(store, workers=1).problems
    assert [line.partition(":")[0] for line in found] == [
        str(path.relative_to(root)) for path in (left, segment)
    ]
    assert prune.main(["--corpus", str(root), "--delete"]) == 0
    assert left.name in capsys.readouterr().out
    assert not left.exists()
    assert not segment.exists()
    assert busy.exists(), "of a batch that may go on"

    left.write_bytes(b"PAR1 secret")
    words = ["--corpus", str(root), "--url", fates_copy.kept, "--why", "a test", "--yes"]
    assert forget.main(words) == 1, "one batch has unfinished steps"
    assert not left.exists()


@pytest.mark.soak
def test_two_hundred_batches(tmp_path: Path) -> None:
    store = big_corpus.build(tmp_path, 200, 64)
    assert sum(size for _, size in store.files("snapshots", recursive=True)) < 20 << 20
    for main in (status.main, prune.main):
        assert main(["--corpus", store.root]) == 0
