"""Proofs are checked by strangers: a script without this package, minisign's own program, an oracle."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError
from corpus.snapshots.snapshot import snapshots
from corpus.storage.store import open_corpus
from tests.support import grown_corpus
from webtext.proof.merkle import MerkleTree, leaf_hash, node_hash
from webtext.proof.minisign import make_key, read_key
from webtext.proof.statement import write_proof
from webtext.verify import command


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root_of(leaves[:half]), root_of(leaves[half:]))


def test_roots_and_paths_are_those_of_the_definition() -> None:
    for count in range(40):
        leaves = [str(number).encode() for number in range(count)]
        tree = MerkleTree()
        for leaf in leaves:
            tree.add(leaf, watch=True)
        root, watched = tree.finish()

        assert root == root_of(leaves)
        assert [each.leaf for each in watched] == leaves
        for index, each in enumerate(watched):
            found = leaf_hash(each.leaf)
            for step in each.path:
                other = bytes.fromhex(step[1:])
                found = node_hash(other, found) if step[0] == "l" else node_hash(found, other)
            assert (each.index, found) == (index, root)


@pytest.fixture(scope="module")
def proven(fates: grown_corpus.Fates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proof")
    words = ["--corpus", fates.root, "--snapshot", snapshots(fates.store)[-1]]
    words += ["--proof", str(folder), "--new-key", str(folder / "key")]
    words += ["--about", fates.copy, "--about", fates.kept]
    assert command.main(words) == 0
    return folder


def check(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a stranger does: without installed packages, and elsewhere."""
    words = [sys.executable, "-I", "-S", "check_proof.py", *names]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def inclusion(folder: Path, kind: str) -> tuple[str, dict[str, Any]]:
    for path in sorted(folder.glob("inclusion-*.json")):
        proof = json.loads(path.read_text())
        if proof["leaf"]["kind"] == kind:
            return path.name, proof
    raise AssertionError(kind)


def test_a_stranger_checks_a_document_and_a_removal(
    fates: grown_corpus.Fates, proven: Path
) -> None:
    for kind, url in (("document", fates.kept), ("removed", fates.copy)):
        name, proof = inclusion(proven, kind)
        found = check(proven, "statement.json", name, "statement.json.minisig", "key.pub")
        assert found.returncode == 0, found.stderr
        assert found.stdout.endswith(" - proven\n")
        assert proof["leaf"]["url"] == url
        assert (proven / name).stat().st_size < 4000
    assert inclusion(proven, "removed")[1]["leaf"]["reason"] == "exact_duplicate"
    assert (proven / "key").stat().st_mode & 0o077 == 0
    assert len((proven / "check_proof.py").read_text().splitlines()) < 100


def test_every_change_is_noticed(proven: Path, tmp_path: Path) -> None:
    shutil.copytree(proven, tmp_path, dirs_exist_ok=True)
    name, proof = inclusion(tmp_path, "document")
    whole = ("statement.json", name, "statement.json.minisig", "key.pub")

    for change in (
        {"leaf": {**proof["leaf"], "url": "https://example.org/other"}},
        {"path": proof["path"][:-1]},
        {"path": ["lr"[step[0] == "l"] + step[1:] for step in proof["path"]]},
    ):
        (tmp_path / name).write_text(json.dumps({**proof, **change}))
        assert "does not belong to the statement's root" in check(tmp_path, *whole).stderr
    (tmp_path / name).write_text(json.dumps(proof))

    statement = (tmp_path / "statement.json").read_text()
    (tmp_path / "statement.json").write_text(statement.replace("urn:webtext", "urn:others"))
    assert "is not signed with this key" in check(tmp_path, *whole).stderr
    assert check(tmp_path, *whole[:2]).stdout.endswith("signature not checked\n")
    (tmp_path / "statement.json").write_text(statement)

    signature = (tmp_path / "statement.json.minisig").read_text()
    (tmp_path / "statement.json.minisig").write_text(signature.replace("root", "Root"))
    assert "the comment of the signature" in check(tmp_path, *whole).stderr
    (tmp_path / "statement.json.minisig").write_text(signature)

    (tmp_path / "other.pub").write_text(make_key(tmp_path / "other").public_file())
    assert "not signed with this key" in check(tmp_path, *whole[:3], "other.pub").stderr
    (tmp_path / "text.txt").write_text("another text")
    assert "text.txt is another text" in check(tmp_path, *whole, "text.txt").stderr


def test_another_table_is_another_root(
    fates: grown_corpus.Fates, fates_copy: grown_corpus.Fates, tmp_path: Path, proven: Path
) -> None:
    name = snapshots(fates.store)[-1]
    root = json.loads((proven / "statement.json").read_text())["subject"][0]["digest"]["sha256"]
    again = write_proof(fates_copy.store, name, str(tmp_path / "again"))
    assert again.root == root
    assert "statement.json.minisig" not in again.files

    part = next(Path(fates_copy.root).glob("signatures/2024-01/part-*.parquet"))
    part.write_bytes(part.read_bytes() + b"\0")
    assert write_proof(fates_copy.store, name, str(tmp_path / "other")).root != root


def test_wrong_input_is_named(fates: grown_corpus.Fates, proven: Path, tmp_path: Path) -> None:
    store, name = open_corpus(fates.root), snapshots(fates.store)[-1]
    with pytest.raises(InputError, match=r"--about x\.test/a: in no batch of snapshot"):
        write_proof(store, name, str(tmp_path / "p"), about={"0" * 32: "x.test/a"})
    assert not (tmp_path / "p").exists()

    with pytest.raises(InputError, match="no such file; make a key with --new-key"):
        read_key(tmp_path / "none")
    with pytest.raises(InputError, match=r"key: exists; sign with it"):
        make_key(proven / "key")
    (tmp_path / "key").write_text("untrusted comment: x\nQUJD\n")
    with pytest.raises(InputError, match="not a secret key of minisign without passphrase"):
        read_key(tmp_path / "key")
    assert command.main(["--corpus", fates.root, "--proof", str(tmp_path / "p")]) == 2


def key_file(path: Path, raw: bytes) -> Path:
    path.write_text(f"untrusted comment: x\n{base64.b64encode(raw).decode()}\n")
    return path


def test_a_key_is_read_as_it_was_made(tmp_path: Path) -> None:
    """And signs alike: the whole signature has an id and 64 bytes, which the public key verifies."""
    made, read = make_key(tmp_path / "key"), read_key(tmp_path / "key")
    assert (read.key_id, read.public_file()) == (made.key_id, made.public_file())

    lines = read.sign(b"text", "a comment").splitlines()
    signature, whole = base64.b64decode(lines[1]), base64.b64decode(lines[3])
    assert lines == made.sign(b"text", "a comment").splitlines()
    assert (signature[:10], len(signature), len(whole)) == (b"ED" + made.key_id, 74, 64)
    public = read.private.public_key()
    public.verify(signature[10:], hashlib.blake2b(b"text").digest())
    public.verify(whole, signature[10:] + b"a comment")


@pytest.mark.parametrize(
    ("first", "last", "refusal"),
    [
        (0, 158, None),
        (0, 157, "not a secret key of minisign without passphrase"),
        (0, 159, "not a secret key of minisign without passphrase"),
        (1, 158, "not a secret key of minisign without passphrase"),
    ],
)
def test_a_secret_key_has_158_bytes(
    first: int, last: int, refusal: str | None, tmp_path: Path
) -> None:
    make_key(tmp_path / "key")
    raw = base64.b64decode((tmp_path / "key").read_text().splitlines()[1]) + b"\0"
    path = key_file(tmp_path / "other", raw[first:last])
    if refusal is None:
        assert read_key(path).public_file()
    else:
        with pytest.raises(InputError, match=refusal):
            read_key(path)


@pytest.mark.parametrize(
    ("place", "refusal"),
    [
        *((place, "without passphrase") for place in (0, 5)),
        *((place, None) for place in (6, 53)),
        *((place, "its two halves differ") for place in (62, 93, 94, 125)),
    ],
)
def test_each_part_of_a_secret_key_has_its_place(
    place: int, refusal: str | None, tmp_path: Path
) -> None:
    """Algorithms, then the salt and limits that a key without passphrase does not use, then its halves."""
    made = make_key(tmp_path / "key")
    raw = bytearray(base64.b64decode((tmp_path / "key").read_text().splitlines()[1]))
    raw[place] ^= 8
    path = key_file(tmp_path / "other", bytes(raw))
    if refusal is None:
        assert read_key(path).key_id == made.key_id
    else:
        with pytest.raises(InputError, match=refusal):
            read_key(path)


def test_minisign_agrees(proven: Path, tmp_path: Path, fates: grown_corpus.Fates) -> None:
    minisign = shutil.which("minisign")
    if minisign is None:
        pytest.skip("needs the program minisign")
    words = [minisign, "-V", "-q", "-p", "key.pub", "-m", "statement.json"]
    subprocess.run(words, cwd=proven, check=True)

    subprocess.run([minisign, "-G", "-W", "-s", "k", "-p", "k.pub"], cwd=tmp_path, check=True)
    key, name = read_key(tmp_path / "k"), snapshots(fates.store)[-1]
    write_proof(open_corpus(fates.root), name, str(tmp_path), key=key)
    subprocess.run([*words[:4], "k.pub", "-m", "statement.json"], cwd=tmp_path, check=True)
