"""The doctor says what is well and what is not, and leaves nothing behind."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from corpus.storage import conditional_write, self_test
from corpus.storage.local import LocalStore
from corpus.storage.store import open_corpus, open_store
from tests.support import faulty_network
from tests.support.ray_head import free_port
from webtext import doctor


def states(capsys: pytest.CaptureFixture[str], root: str) -> tuple[int, dict[str, str]]:
    code = doctor.main(["--corpus", root, "--json"])
    sections = json.loads(capsys.readouterr().out.splitlines()[-1])
    return code, {each["subject"]: each["state"] for found in sections.values() for each in found}


def test_a_folder_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = states(capsys, str(tmp_path / "new"))
    assert code == 0
    assert {found[subject] for subject in self_test.CHECKS} == {"ok"}
    assert list(tmp_path.iterdir()) == [], "an empty work/ was left"
    assert states(capsys, str(tmp_path / "a" / "b"))[0] == 0
    assert list(tmp_path.iterdir()) == [], "nor its parents"
    (tmp_path / "work").mkdir()
    assert states(capsys, str(tmp_path))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["work"], "others' folders stay"
    assert doctor.main(["--corpus", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 24, "one screen"


def test_an_object_store_is_well(s3_bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    conditional_write.open_conditional.cache_clear()
    code, found = states(capsys, f"{s3_bucket}/c")
    assert code == 0
    assert {found[subject] for subject in self_test.CHECKS} == {"ok"}
    assert open_store(f"{s3_bucket}/c").files("", recursive=True, leftovers=True) == []


def test_a_store_that_ignores_conditions_is_named_at_its_first_use(
    network: faulty_network.Network,
    s3_bucket: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    network.unread = frozenset({"if-none-match"})
    conditional_write._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        open_corpus(f"{s3_bucket}/c", create=True)
    assert "conditional writes: the store refuses or ignores them" in caplog.text
    caplog.clear()
    open_corpus(f"{s3_bucket}/c", create=True)
    assert caplog.text == "", "once"
    code, found = states(capsys, f"{s3_bucket}/c")
    assert (code, found["conditional writes"]) == (0, "warning")


def test_a_store_that_cannot_be_used_is_one_failure(
    s3_bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = states(capsys, f"{s3_bucket}-is-not-there/c")
    assert code == 1
    assert found["access"] == "failure"
    assert "listing" not in found, "one line for one cause"


class Lying(LocalStore):
    """A folder with one fault."""

    fault = ""

    def _files(self, folder: str, recursive: bool) -> list[tuple[str, int]]:
        found = super()._files(folder, recursive)
        return found[:-1] if self.fault == "listing" else found

    def _read_range(self, path: str, offset: int, num_bytes: int) -> bytes:
        data = super()._read_range(path, offset, num_bytes)
        return data[::-1] if self.fault == "large files" else data

    def _read_bytes(self, path: str) -> bytes:
        return b"other" if self.fault == "access" else super()._read_bytes(path)

    def _create_exclusive(self, path: str, data: bytes) -> bool:
        created = super()._create_exclusive(path, data)
        return True if self.fault == "conditional writes" else created


@pytest.mark.parametrize("fault", ["listing", "large files", "access", "conditional writes"])
def test_each_fault_is_found(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lying(root: str) -> Lying:
        store = Lying(root)
        store.fault = fault
        return store

    monkeypatch.setattr(doctor, "open_store", lying)
    code, found = states(capsys, str(tmp_path))
    assert code == 1
    assert [subject for subject in self_test.CHECKS if found.get(subject) == "failure"] == [fault]


@pytest.mark.parametrize("ahead_s", [-400 * 86_400.0, 300.0, 3.0])
def test_a_clock_that_differs_is_a_warning(
    tmp_path: Path, ahead_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def modified(store: Any, path: str) -> float:
        return time.time() + ahead_s

    monkeypatch.setattr(self_test, "_modified", modified)
    found = {each.subject: each for each in self_test.check_store(open_store(str(tmp_path)))}
    assert found["clock"].state == ("ok" if ahead_s == 3.0 else "warning")


def test_a_cluster_that_does_not_answer_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("corpus.run.executors.opening.ANSWER_WITHIN_S", 0.2)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    code, found = states(capsys, str(tmp_path))
    assert (code, found["head"]) == (1, "failure")


@pytest.mark.parametrize(
    ("other", "subject"),
    [({"python": "3.9"}, "python"), ({"sees the corpus": False}, "sees the corpus")],
)
def test_nodes_that_differ_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, object], subject: str
) -> None:
    here = doctor.look_around(str(tmp_path))

    class Cluster:
        slots = 4

        def __init__(self, workers: None) -> None:
            pass

        def on_every_node(self, *words: Any) -> list[dict[str, object]]:
            return [here, {**here, **other}]

        def close(self, *, cancel: bool) -> None:
            pass

    monkeypatch.setattr("corpus.run.executors.ray.RayExecutor", Cluster)
    monkeypatch.setattr(doctor, "require_answer", lambda address: None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    found = doctor.check_cluster(open_store(str(tmp_path)), "head:1")
    assert {each.subject: each.state for each in found if each.state != "ok"} == {
        subject: "failure",
        "token": "warning",
    }
    assert os.path.isdir(tmp_path)
