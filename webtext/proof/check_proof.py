"""Check that a page is in a published snapshot, or was removed from it. Needs Python alone.

    python check_proof.py statement.json inclusion.json [statement.json.minisig KEY.pub] [TEXT.txt]

With a signature and a public key of minisign the statement is checked too; with a text, the text.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

Point = tuple[int, int, int, int]

# Ed25519 as in RFC 8032, section 6.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def _add(a: Point, b: Point) -> Point:
    c, d = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    e, f = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    g, h, i, j = d - c, f - e, f + e, d + c
    return g * h % P, i * j % P, h * i % P, g * j % P


def _multiply(scalar: int, point: Point) -> Point:
    total = (0, 1, 1, 0)
    while scalar:
        total = _add(total, point) if scalar & 1 else total
        point, scalar = _add(point, point), scalar >> 1
    return total


def _decompress(data: bytes) -> Point:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * ROOT_OF_MINUS_ONE % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise SystemExit("the public key or the signature is not a point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = _decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def _signed(key: bytes, message: bytes, signature: bytes) -> bool:
    point, scalar = _decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    left = _multiply(scalar, BASE)
    right = _add(point, _multiply(int.from_bytes(digest, "little") % ORDER, _decompress(key)))
    equal = all((left[k] * right[2] - right[k] * left[2]) % P == 0 for k in (0, 1))
    return scalar < ORDER and equal


def _check_signature(statement: bytes, signature_file: str, key_file: str) -> None:
    lines = Path(signature_file).read_text("utf-8").splitlines()
    head, comment, whole = base64.b64decode(lines[1]), lines[2], base64.b64decode(lines[3])
    key = base64.b64decode(Path(key_file).read_text("utf-8").splitlines()[1])
    message = hashlib.blake2b(statement).digest() if head[:2] == b"ED" else statement
    trusted = comment.removeprefix("trusted comment: ").encode()
    if head[2:10] != key[2:10] or not _signed(key[10:], message, head[10:]):
        raise SystemExit("the statement is not signed with this key")
    if not _signed(key[10:], head[10:] + trusted, whole):
        raise SystemExit("the comment of the signature is not signed with this key")


def main(words: list[str]) -> None:
    """Check the files named in `words`; print the leaf, or exit with the reason."""
    texts = [word for word in words if word.endswith(".txt")]
    names = [word for word in words if word not in texts]
    statement, proof = Path(names[0]).read_bytes(), json.loads(Path(names[1]).read_bytes())
    if len(names) == 4:
        _check_signature(statement, names[2], names[3])

    leaf = json.dumps(proof["leaf"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    found = hashlib.sha256(b"\0" + leaf.encode("utf-8", "surrogatepass")).digest()
    for step in proof["path"]:
        other = bytes.fromhex(step[1:])
        pair = other + found if step[0] == "l" else found + other
        found = hashlib.sha256(b"\1" + pair).digest()
    if found.hex() != json.loads(statement)["subject"][0]["digest"]["sha256"]:
        raise SystemExit("the leaf does not belong to the statement's root")

    for name in texts:
        if hashlib.sha256(Path(name).read_bytes()).hexdigest() != proof["leaf"].get("text_sha256"):
            raise SystemExit(f"{name} is another text")
    print(leaf, "- proven" + ("" if len(names) == 4 else "; signature not checked"))


if __name__ == "__main__":
    main(sys.argv[1:])
