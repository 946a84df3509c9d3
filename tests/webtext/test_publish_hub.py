"""Uploads through the hub's own client: one revision or none, resumed, with nothing sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from corpus.errors import FatalError, InputError
from corpus.snapshots.snapshot import read_head, snapshots
from tests.support import grown_corpus
from tests.support.hub import Hub, serving
from webtext.publish import command
from webtext.publish import hub as uploads

NAME = "us/corpus"
# The client's own call of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(uploads, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    # Xet is a compiled protocol of the hub's own store; without it the client speaks Git LFS.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A publication with small and large files."""
    place = tmp_path / "published"
    for number in range(4):
        path = place / f"data/documents/train-{number:05}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 5000)
    (place / "README.md").write_text("---\nlicense: other\n---\n# Card\n")
    return place


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token="secret")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def main_branch(hub: Hub) -> dict[str, bytes]:
    return hub.repositories[NAME].revisions["main"] if NAME in hub.repositories else {}


def test_a_snapshot_becomes_one_revision(
    fates: grown_corpus.Fates, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, place = snapshots(fates.store)[-1], tmp_path / "staged"
    words = ["--corpus", fates.root, "--snapshot", name, "--contact", "me@example.org"]
    words += ["--to", f"hf://datasets/{NAME}"]
    assert command.main([*words, "--dry-run"]) == 0
    assert "would get" in capsys.readouterr().out
    assert not any(line.startswith(("POST", "PUT")) for line in hub.requests)

    place.mkdir()
    (place / "old").write_bytes(b"")
    assert command.main([*words, "--dry-run", "--staging", str(place)]) == 2
    assert f"--staging {place}: has files already" in capsys.readouterr().err
    (place / "old").unlink()

    assert command.main([*words, "--staging", str(place), "--private"]) == 0
    assert main_branch(hub) == files(place)
    assert hub.repositories[NAME].private
    [request] = hub.repositories[NAME].requests
    assert read_head(fates.store, name).digest in request["title"]
    assert f"{hub.url}/datasets/{NAME}" in (place / "croissant.json").read_text()

    before = len([line for line in hub.requests if "/commit/" in line])
    found = uploads.upload(api(hub), NAME, place, "another")
    assert found == f"{hub.url}/datasets/{NAME}"
    assert len([line for line in hub.requests if "/commit/" in line]) == before


def test_nothing_half_is_visible_and_an_upload_continues(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "COMMIT_FILES", 2)
    monkeypatch.setattr(uploads, "TRIES", 2)
    real = uploads._commit
    done: list[str] = []

    def stopped(*words: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        real(*words)  # type: ignore[arg-type]
        done.append("commit")

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_commit", stopped)
        with pytest.raises(KeyboardInterrupt):
            uploads.upload(api(hub), NAME, folder, "d1")
    assert main_branch(hub) == {}
    assert len(hub.repositories[NAME].revisions["refs/pr/1"]) == 4

    sent = [line for line in hub.requests if line.startswith("PUT")]
    uploads.upload(api(hub), NAME, folder, "d1")
    assert main_branch(hub) == files(folder)
    assert len(hub.repositories[NAME].requests) == 1
    assert [line for line in hub.requests if line.startswith("PUT")] == sent
    assert len(sent) == 4  # each large file once


PLACES = (
    "repos/create", "GET .*/discussions$", "POST .*/discussions$", "preupload", "objects/batch",
    "PUT /objects", "/commit/", "/tree/", "/merge", "/status",
)  # fmt: skip


@pytest.mark.parametrize("status", [503, 429, 0])
def test_failures_that_pass_change_nothing(hub: Hub, folder: Path, status: int) -> None:
    hub.failures += [(place, status) for place in PLACES]
    uploads.upload(api(hub), NAME, folder, "d1")
    assert main_branch(hub) == files(folder)
    assert hub.failures == []
    assert [each["status"] for each in hub.repositories[NAME].requests] == ["merged"]


def test_a_hub_that_stays_away_or_refuses_is_named(hub: Hub, folder: Path) -> None:
    hub.failures += [("/commit/", 503)] * 50
    with pytest.raises(FatalError, match=r"cannot commit after 5 tries: .*it continues"):
        uploads.upload(api(hub), NAME, folder, "d1")
    assert main_branch(hub) == {}

    with pytest.raises(InputError, match=r"401 at the attempt to create .*HF_TOKEN"):
        uploads.upload(HfApi(endpoint=hub.url, token="wrong"), NAME, folder, "d1")
    for address in ("hf://us/corpus", "hf://datasets/us", "hf://models/us/x"):
        with pytest.raises(InputError, match=f"--to {address}: expected hf://datasets/OWNER/NAME"):
            uploads.repository(address)


@pytest.mark.parametrize("status", [503, 0])
def test_a_dry_run_asks_again_and_names_a_refusal(hub: Hub, folder: Path, status: int) -> None:
    uploads.upload(api(hub), NAME, folder, "d1")
    hub.failures += [("/tree/", status)]
    planned = uploads.compared(api(hub), NAME, uploads.Folder.read(folder))
    assert (planned.added, planned.removed, hub.failures) == ([], [], [])
    hub.failures += [("/tree/", 403)]
    with pytest.raises(InputError, match="403 at the attempt to list the files"):
        uploads.compared(api(hub), NAME, uploads.Folder.read(folder))


def test_a_later_publication_replaces_data_and_can_forget_it(hub: Hub, folder: Path) -> None:
    uploads.upload(api(hub), NAME, folder, "d1")
    hub.repositories[NAME].revisions["main"]["LICENSE"] = b"the owner's own file"
    gone = folder / "data/documents/train-00003.parquet"
    gone.unlink()
    (folder / "README.md").write_text("---\nlicense: other\n---\n# Another card\n")

    address = uploads.upload(api(hub), NAME, folder, "d2", merge=False)
    assert address.endswith("/discussions/2")
    assert b"Another card" not in main_branch(hub)["README.md"]

    hub.failures += [("super-squash", 400)]  # a stop behind the merge
    with pytest.raises(InputError, match="cannot squash"):
        uploads.upload(api(hub), NAME, folder, "d2", squash=True)
    assert len(hub.repositories[NAME].history) == 2
    uploads.upload(api(hub), NAME, folder, "d2", squash=True)
    assert main_branch(hub) == {**files(folder), "LICENSE": b"the owner's own file"}
    assert hub.repositories[NAME].history == [main_branch(hub)]
