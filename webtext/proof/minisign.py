"""Ed25519 signatures in minisign's file format, verified by `minisign -V` as well.

Formats as in minisign 0.11: a key without passphrase (`minisign -G -W`), and signatures over
BLAKE2b-512 of the file ("ED"), with a signed trusted comment.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Offsets in a secret key: algorithms, salt and limits of the passphrase; then id, key, checksum.
KEY_ID = slice(54, 62)
SEED = slice(62, 94)
PUBLIC = slice(94, 126)
SECRET_BYTES = 158
NO_PASSPHRASE = b"Ed\0\0B2"


@dataclass(frozen=True)
class SigningKey:
    """A secret key and its id of 8 bytes."""

    key_id: bytes
    private: Ed25519PrivateKey

    def public_file(self) -> str:
        """The file of the public key, for `minisign -V -p`."""
        raw = b"Ed" + self.key_id + self.private.public_key().public_bytes_raw()
        name = self.key_id[::-1].hex().upper()
        return f"untrusted comment: minisign public key {name}\n{_base64(raw)}\n"

    def sign(self, data: bytes, trusted_comment: str) -> str:
        """The signature file of `data`. The comment is one line and signed with it."""
        signature = self.private.sign(hashlib.blake2b(data).digest())
        whole = self.private.sign(signature + trusted_comment.encode())
        return (
            "untrusted comment: signature by webtext\n"
            f"{_base64(b'ED' + self.key_id + signature)}\n"
            f"trusted comment: {trusted_comment}\n"
            f"{_base64(whole)}\n"
        )


def make_key(path: Path) -> SigningKey:
    """Write a new secret key, readable by its owner alone. Raises: InputError if `path` exists."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    key = SigningKey(os.urandom(8), private)
    body = key.key_id + private.private_bytes_raw() + private.public_key().public_bytes_raw()
    checksum = hashlib.blake2b(b"Ed" + body, digest_size=32).digest()
    raw = NO_PASSPHRASE + bytes(48) + body + checksum
    text = f"untrusted comment: minisign secret key\n{_base64(raw)}\n"

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"--new-key {path}: exists; sign with it: --key {path}") from None
    except OSError as error:
        raise InputError(f"--new-key {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    return key


def read_key(path: Path) -> SigningKey:
    """Read a secret key. Raises: InputError if there is none, or it needs a passphrase."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        raw = base64.b64decode(path.read_text("ascii").splitlines()[1], validate=True)
    except FileNotFoundError:
        raise InputError(
            f"--key {path}: no such file; make a key with --new-key {path} or minisign -G -W"
        ) from None
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"--key {path}: {error}; expected a secret key of minisign") from error

    if len(raw) != SECRET_BYTES or raw[:6] != NO_PASSPHRASE:
        raise InputError(
            f"--key {path}: not a secret key of minisign without passphrase; "
            "make one with minisign -G -W"
        )
    private = Ed25519PrivateKey.from_private_bytes(raw[SEED])
    if private.public_key().public_bytes_raw() != raw[PUBLIC]:
        raise InputError(f"--key {path}: damaged, its two halves differ; restore it from a copy")
    return SigningKey(raw[KEY_ID], private)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
