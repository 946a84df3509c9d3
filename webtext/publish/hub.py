"""Upload a published folder to the Hugging Face hub: a pull request in several commits, merged once.

Readers of the data set never see half of a publication, since commits go to the pull request's own
branch. The request is named after the snapshot's digest: a later call finds it and continues, and
the hub keeps contents by their SHA-256, so nothing is sent twice.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from corpus.errors import FatalError, InputError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?")
KIND = "dataset"
# A failed commit is made again as a whole, so it should be neither huge nor tiny.
COMMIT_BYTES = 2 << 30
COMMIT_FILES = 50
TRIES = 5
FIRST_PAUSE_S = 1.0
# Files outside `data/` come last: they describe the files there.
DATA = "data/"

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The differences between a folder and a branch of the repository."""

    added: list[str]
    """Paths to send, data first."""
    removed: list[str]
    num_bytes: int
    """Of the files to send."""


def repository(address: str) -> str:
    """`owner/name` of `hf://datasets/owner/name`. Raises: InputError for another address."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(f"--to {address}: expected hf://datasets/OWNER/NAME or a folder")
    return found[1]


@dataclass(frozen=True)
class Folder:
    """A folder to upload, whose files are read for their digests once."""

    path: Path
    digests: dict[str, tuple[str, str]]
    """SHA-256 and git's digest of each file by its path in the folder, data first."""

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Compute the digests of all files below `path`."""
        names = (each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
        ordered = sorted(names, key=lambda name: (not name.startswith(DATA), name))
        return cls(path, {name: _digests(path / name) for name in ordered})


def plan(api: HfApi, name: str, folder: Folder, revision: str = "main") -> Plan:
    """Compare a folder with a revision; a missing repository is empty."""
    there = _contents(api, name, revision)
    added = [path for path, known in folder.digests.items() if there.get(path) not in known]
    # Only data of an earlier publication goes: other files of the repository are its owner's.
    removed = [
        path for path in sorted(there) if path.startswith(DATA) and path not in folder.digests
    ]
    return Plan(added, removed, sum((folder.path / path).stat().st_size for path in added))


def compared(api: HfApi, name: str, folder: Folder, revision: str = "main") -> Plan:
    """`plan`, again after temporary failures. Raises: InputError, FatalError."""
    return _try("list the files", lambda: plan(api, name, folder, revision))


def upload(
    api: HfApi,
    name: str,
    folder: Path,
    digest: str,
    *,
    private: bool = False,
    merge: bool = True,
    squash: bool = False,
) -> str:
    """Upload a folder as one revision of the data set `name`; return its address or the request's.

    With `squash` the repository's history is forgotten afterwards, and removed pages with it.

    `digest` names the request: an interrupted upload is found by it and continues. Raises:
    InputError if the hub refuses the token or the name, FatalError if it does not answer.
    """
    files = Folder.read(folder)
    _try("create the repository", lambda: _create(api, name, private))
    address = f"{api.endpoint}/datasets/{name}"
    if not _is_done(api, name, files, "main"):
        address = _send(api, name, files, digest, merge=merge)
    # Also behind a stop between merge and squash: what was taken down must not stay.
    if squash:
        _try("squash", lambda: api.super_squash_history(name, repo_type=KIND))
    return address


def _send(api: HfApi, name: str, folder: Folder, digest: str, *, merge: bool) -> str:
    """Commit the differences to the snapshot's pull request, and merge it; return its address."""
    request = _try("open a pull request", lambda: _request(api, name, digest))
    revision = f"refs/pr/{request}"
    address = f"{api.endpoint}/datasets/{name}/discussions/{request}"

    for number, (added, removed) in enumerate(_commits(api, name, folder, revision), 1):
        message = f"webtext: snapshot {digest[:12]}, commit {number}"
        log.info("commit %d: %d files, %d removed", number, len(added), len(removed))
        commit = partial(_commit, api, name, folder.path, revision, message, added, removed)
        _try("commit", commit)

    if not _is_done(api, name, folder, revision):
        raise FatalError(f"{address}: the hub has other files than {folder.path}; run again")
    if merge:
        _try("merge", lambda: _merge(api, name, request))
    return address


def _is_done(api: HfApi, name: str, folder: Folder, revision: str) -> bool:
    """True if the revision has exactly the folder's files."""
    left = compared(api, name, folder, revision)
    return not left.added and not left.removed


def _commits(
    api: HfApi, name: str, folder: Folder, revision: str
) -> Iterator[tuple[list[str], list[str]]]:
    """Groups of paths to send; the last one also has the paths to remove."""
    todo = compared(api, name, folder, revision)
    group: list[str] = []
    size = 0
    for path in todo.added:
        more = (folder.path / path).stat().st_size
        if group and (size + more > COMMIT_BYTES or len(group) == COMMIT_FILES):
            yield group, []
            group, size = [], 0
        group.append(path)
        size += more
    if group or todo.removed:
        yield group, todo.removed


def _contents(api: HfApi, name: str, revision: str) -> dict[str, str]:
    """Path to SHA-256 of large files, and to git's digest of others."""
    from huggingface_hub import RepoFile
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        tree = api.list_repo_tree(name, recursive=True, revision=revision, repo_type=KIND)
        return {
            each.path: each.lfs.sha256 if each.lfs else each.blob_id
            for each in tree
            if isinstance(each, RepoFile)
        }
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return {}


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256 of a file, and the SHA-1 of its git blob."""
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(4 << 20):
            sha256.update(chunk)
            git.update(chunk)
    return sha256.hexdigest(), git.hexdigest()


def _create(api: HfApi, name: str, private: bool) -> None:
    api.create_repo(name, repo_type=KIND, private=private or None, exist_ok=True)


def _request(api: HfApi, name: str, digest: str) -> int:
    """The number of the pull request for this snapshot, opened if there is none."""
    title = f"webtext: snapshot {digest}"
    for each in api.get_repo_discussions(name, repo_type=KIND, discussion_type="pull_request"):
        if each.title == title and each.status in ("draft", "open"):
            return each.num
    return api.create_pull_request(name, title, repo_type=KIND).num


def _commit(
    api: HfApi,
    name: str,
    folder: Path,
    revision: str,
    message: str,
    added: Sequence[str],
    removed: Sequence[str],
) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [CommitOperationAdd(path, str(folder / path)) for path in added]
    operations += [CommitOperationDelete(path) for path in removed]
    api.create_commit(name, operations, commit_message=message, repo_type=KIND, revision=revision)


def _merge(api: HfApi, name: str, request: int) -> None:
    details = api.get_discussion_details(name, request, repo_type=KIND)
    if details.status == "merged":
        return  # by a try whose answer was lost
    if details.status == "draft":
        api.change_discussion_status(name, request, "open", repo_type=KIND)
    api.merge_pull_request(name, request, repo_type=KIND)


def _try(action: str, call: Callable[[], T]) -> T:
    """Call, again after temporary failures. Raises: InputError, FatalError."""
    for number in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            _refuse(action, error)
            if number == TRIES:
                raise FatalError(
                    f"the hub: cannot {action} after {TRIES} tries: {first_line(error)}; "
                    "run the same command again, it continues"
                ) from error
            pause = FIRST_PAUSE_S * 2 ** (number - 1)
            log.warning("the hub: cannot %s: %s; again in %g s", action, first_line(error), pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


def _refuse(action: str, error: Exception) -> None:
    """Raise lasting errors; return for those of the network and of the server."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        raise InputError(
            f"the hub: {status} at the attempt to {action}; name a token that may write: "
            "HF_TOKEN=..., or `hf auth login`"
        ) from error
    if status is not None and status < 500 and status not in (408, 409, 412, 429):
        raise InputError(f"the hub: cannot {action}: {first_line(error)}") from error

    # The client wraps a failed upload in RuntimeError; other kinds without an answer are ours.
    network = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore")
    if status is None and not network and not isinstance(error, OSError | RuntimeError):
        raise error


def connect() -> HfApi:
    """The hub named by HF_ENDPOINT, or the public one. Raises: InputError without its client."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError(
            "--to hf://... needs huggingface_hub; pip install webtext[dedup]"
        ) from error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
