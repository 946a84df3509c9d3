"""Later tables made new under another config: as if made so at first, beside the old ones until they commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corpus.snapshots.retirement import require_usable
from corpus.snapshots.snapshot import read_snapshot, snapshots, write_snapshot
from corpus.storage.lease import hold
from corpus.storage.store import Store, open_corpus
from corpus.tables.inventory import entries
from shards.reader import open_split
from tests.support import grown_corpus
from webtext.takedown.snapshots import runs_on
from webtext.upkeep import prune, rebuild
from webtext.verify import command

CHANGE = ("--set", "clean.quality.min_words=372")
LATER = ("documents", "documents_dropped", "signatures", "verdicts", "bands", "tokens", "spans")


def words(fates: grown_corpus.Fates, *extra: str) -> list[str]:
    """The door's command line, with the settings that the corpus was grown with."""
    sets = [word for setting in grown_corpus.SETTINGS for word in ("--set", setting)]
    testset = ["--set", f'dedup.testsets=["{fates.folder / "testset.jsonl"}"]']
    return ["--corpus", fates.root, "--executor", "serial", *sets, *testset, *extra]


def test_new_tables_are_as_if_made_so_at_first_and_old_snapshots_still_read(
    fates_copy: grown_corpus.Fates, tmp_path: Path
) -> None:
    store = fates_copy.store
    before = read_snapshot(store, "2024-02")
    assert rebuild.main(words(fates_copy, "--from", "clean", *CHANGE)) == 0
    other = open_corpus(str(tmp_path / "other"), create=True)
    for table in ("links", "pages", "warc"):
        for path, _ in store.files(table, recursive=True):
            other.write_bytes(path, store.read_bytes(path))
    testset = ("--set", f'dedup.testsets=["{fates_copy.folder / "testset.jsonl"}"]')
    for batch in ("2024-01", "2024-02"):
        grown_corpus.refine(other.root, batch, *CHANGE, *testset)
        assert grown_corpus.table_bytes(store, batch, *LATER) == grown_corpus.table_bytes(
            other, batch, *LATER
        )
    for split in ("train", "val"):
        ours, theirs = read_snapshot(store, "2024-02.2"), read_snapshot(other, "2024-02")
        assert [f.digest for f in ours.splits[split].files] == [
            f.digest for f in theirs.splits[split].files
        ]  # type: ignore[index]
    new = read_snapshot(store, "2024-02.2")
    assert 0 < new.splits["train"].num_documents < before.splits["train"].num_documents
    for split in ("train", "val"):
        open_split(fates_copy.root, "2024-02", split).verify()  # type: ignore[arg-type]
    assert {entry.state for entry in entries(store)} == {"ok"}
    assert command.verify(store).problems == []
    assert rebuild.main(words(fates_copy, "--from", "clean", *CHANGE)) == 0
    assert sorted(snapshots(store)) == ["2024-01", "2024-02", "2024-02.2"], "again changes nothing"

    unneeded = prune.make_plan(
        store, prune.choose(store, ["2024-01", "2024-02"], withdrawn=False, keep=None)
    )
    assert not any(store.exists(f.path) for f in before.splits["train"].files), "moved"
    before = read_snapshot(store, "2024-02")
    pinned = {f.path for split in ("train", "val") for f in before.splits[split].files}  # type: ignore[index]
    assert pinned <= {path for path, _ in unneeded.files}
    assert (
        prune.main(
            [
                "--corpus",
                fates_copy.root,
                "--snapshot",
                "2024-01",
                "--snapshot",
                "2024-02",
                "--delete",
            ]
        )
        == 0
    )
    assert snapshots(store) == ["2024-02.2"]
    assert not any(store.exists(path) for path in pinned)
    assert command.verify(store).problems == []
    with pytest.raises(Exception, match="was pruned on"):
        require_usable(store, "2024-01", allow_withdrawn=True)


def test_one_batch_of_several_leaves_the_later_ones_stale_and_says_so(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rebuild.main(words(fates_copy, "--from", "clean", "--batch", "2024-01", *CHANGE)) == 0
    assert "stale: 2024-02; rebuild with `webtext rebuild --corpus" in capsys.readouterr().out


def test_a_failing_stage_is_named_and_the_rest_kept(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ("--set", 'dedup.testsets=["/no/such/file"]')
    assert rebuild.main(words(fates_copy, "--from", "clean", *CHANGE, *extra)) == 2
    assert "batch 2024-01: dedup ended with exit code 2" in capsys.readouterr().err
    assert sorted(snapshots(fates_copy.store)) == ["2024-01", "2024-02"]


def test_dry_run_wrong_use_and_empty_corpus(
    fates: grown_corpus.Fates, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rebuild.main(words(fates, "--from", "dedup", "--dry-run")) == 0
    assert "would rebuild dedup, shards of batch 2024-01" in capsys.readouterr().out
    for extra, message in (
        (["--from", "train"], "invalid choice"),
        ([], "--from"),
        (["--from", "clean", "--batch", "none"], "no batch ['none']; present: 2024-01, 2024-02"),
    ):
        assert rebuild.main(["--corpus", fates.root, *extra]) == 2
        assert message in capsys.readouterr().err
    open_corpus(str(tmp_path / "c"), create=True)
    assert rebuild.main(["--corpus", str(tmp_path / "c"), "--from", "clean"]) == 2
    assert "no batch is committed yet" in capsys.readouterr().err
    assert prune.main(["--corpus", str(tmp_path / "c")]) == 0
    assert "would delete 0 snapshots, 0 files" in capsys.readouterr().out
    assert prune.main(["--corpus", fates.root, "--snapshot", "none"]) == 2
    assert "no snapshot ['none']" in capsys.readouterr().err


def everything(store: Store) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path, _ in store.files("", recursive=True)}


def test_prune_only_says_and_keeps_what_a_run_was_made_on(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fates_copy.store
    store.write_json("runs/last-year/config.json", {"snapshot": "2024-01"})
    store.write_bytes("documents/2024-01/part-00000.leftover.parquet", b"PAR1")
    store.write_bytes("documents/2024-02/part-00000.leftover.parquet", b"PAR1")
    store.write_bytes("work/2024-02/clean.documents-x/map/00000.json", b"{}")
    before = everything(store)
    assert prune.main(["--corpus", fates_copy.root, "--keep", "1"]) == 0
    out = capsys.readouterr().out
    assert everything(store) == before
    assert "would delete documents/2024-01/part-00000.leftover.parquet" in out
    assert "2024-02/part" not in out, "a batch with unfinished steps is passed over"
    assert "snapshot 2024-01" not in out, "a run was made on it"
    assert runs_on(store, ["2024-01"]) == ["last-year"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KillError):
        patch.setattr(Store, "delete", _die_at_snapshots)
        prune.main(["--corpus", fates_copy.root, "--snapshot", "2024-02", "--delete"])
    assert snapshots(store) == ["2024-01", "2024-02"]
    assert prune.main(["--corpus", fates_copy.root, "--keep", "5", "--delete"]) == 0
    assert snapshots(store) == ["2024-01"], "given up before, and completed now"
    for path in [path for path in before if path.startswith("snapshots/")]:
        before.pop(path)
    assert len(store.files("snapshots/files")) == 1, "lists of the other snapshot alone are gone"
    gone = before.keys() - everything(store).keys()
    assert "documents/2024-01/part-00000.leftover.parquet" in gone
    assert {path.partition("/")[0] for path in gone} == {"documents"}, (
        "tokens are their manifest's, too"
    )


class KillError(BaseException):
    """Stands for the end of the process."""


def _die_at_snapshots(store: Store, path: str, real: Any = Store.delete) -> None:
    if path.startswith("snapshots/"):
        raise KillError
    real(store, path)


def test_prune_leaves_what_a_run_that_began_meanwhile_writes(
    fates_copy: grown_corpus.Fates,
) -> None:
    """Between the plan and the deletion: a batch that somebody works on, and a file that is named now."""
    store, leftover = fates_copy.store, "documents/{}/part-00000.leftover.parquet"
    for batch in ("2024-01", "2024-02"):
        store.write_bytes(leftover.format(batch), b"PAR1")
    plan = prune.make_plan(store, [])
    assert [path for path, _ in plan.files] == [
        leftover.format("2024-01"),
        leftover.format("2024-02"),
    ]
    with hold(store, "work/2024-01/lock.json", what="clean.run"):
        gone = prune.carry_out(store, plan)
        assert prune.make_plan(store, []).files == [], "nor is it in a new plan"
    assert [path for path, _ in gone.files] == [leftover.format("2024-02")]
    assert store.exists(leftover.format("2024-01"))


def test_the_latest_snapshots_are_kept(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    for revision in ("2024-02.9", "2024-02.10"):
        write_snapshot(store, revision, ["2024-01", "2024-02"])
    assert prune.choose(store, [], withdrawn=False, keep=1) == ["2024-01", "2024-02", "2024-02.9"]
    by_age = ["2024-01", "2024-02", "2024-02.9", "2024-02.10"]
    for keep, num_pruned in ((0, 4), (3, 1), (4, 0), (5, 0), (99, 0)):
        chosen = prune.choose(store, [], withdrawn=False, keep=keep)
        assert chosen == sorted(by_age[:num_pruned])
