"""The start tags of a page, outside comments and elements whose content is not markup. Pure.

Source: WHATWG HTML, 13.2.5 (comments, tags and attributes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_TAG_BYTES = 2 << 10
# A name, and a value in one of three notations.
ATTRIBUTE = re.compile(
    rb"""[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"'][^\s>]*)))?"""
)
_REST_OF_TAG = re.compile(rb"(?:" + ATTRIBUTE.pattern + rb")*+[\s/]*>")
_END_OF_COMMENT = re.compile(rb"--!?>")


def start_pattern(text: bytes, tags: bytes) -> re.Pattern[bytes]:
    """The pattern that `elements` searches, from patterns of names: of elements of text, of tags."""
    return re.compile(
        rb"<!--(?P<closed>-?>)?|<(?P<text>" + text + rb")(?=[\s/>])|<(?P<tag>" + tags + rb")",
        re.IGNORECASE,
    )


def elements(
    body: bytes, start: re.Pattern[bytes], max_elements: int
) -> Iterator[tuple[bytes, bytes]]:
    """(lower-case name, bytes from its `<` on) of tags and elements of text, in their order.

    An element of text is given up to its end tag, any other with `MAX_TAG_BYTES`. At most
    `max_elements` elements and comments are read, in time linear in the length of the page.
    """
    lowered = body.lower()
    position = 0

    for _ in range(max_elements):
        found = start.search(body, position)
        if found is None:
            return

        begin, position = found.span()
        if found["tag"] is not None:
            limit = begin + MAX_TAG_BYTES
            # What a value contains is not markup. A tag without an end is left after its name.
            rest = _REST_OF_TAG.match(body, position, limit)
            position = rest.end() if rest is not None else position
            yield found["tag"].lower(), body[begin:limit]
        elif found["text"] is not None:
            name = found["text"].lower()
            end = lowered.find(b"</" + name, position)
            position = end if end >= 0 else len(body)
            yield name, body[begin:position]
        elif found["closed"] is None:
            closed = _END_OF_COMMENT.search(body, position)
            if closed is None:
                return
            position = closed.end()
