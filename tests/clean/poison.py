"""Pages that were made to hurt: what each is, by name."""

from __future__ import annotations

GOOD = b"<html><body><article>" + b"".join(
    b"<p>Paragraph %d of a good page, which nobody may lose because of its neighbours.</p>" % i
    for i in range(9)
)
POISON = {
    "nesting": b"<div>" * 1_000_000 + b"x",
    "nested formatting": b"<p>" + b"<font><p>" * 100_000 + b"x",
    "attribute": b"<p title='" + b"a" * 15_000_000 + b"'>x",
    "many attributes": b"<p " + b" ".join(b"a%d=1" % i for i in range(200_000)) + b">x",
    "wide cell": GOOD + b"<table><tr><td colspan=9007199254740991>x</table>",
    "rows": b"<table>" + b"<tr><td>some cell</td><td>1</td></tr>" * 200_000,
    "open tags": b"<" * 3_000_000,
    "entities": b"<p>" + b"&#99999999999;" * 200_000,
    "combining marks": ("<p>a" + "\u0315\u0300" * 200_000).encode(),
    "comments": b"<!--" * 1_000_000,
    "too large": b"a" * 20_000_001,
}
DEADLY = ("rows", "open tags", "entities", "combining marks")
"""Those that, like "nesting", outlive a short limit and take the process with them; `make soak` runs them all."""
