"""The choice of a capture by its date, status and type."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

from crawl.captures.index import IndexedCapture

Policy = Literal["nearest", "before", "after"]
_TYPES: Final = ("text/html", "application/xhtml+xml", "text/plain", "unk", "")


def candidates(
    captures: Iterable[IndexedCapture], when: datetime, policy: Policy, window: timedelta
) -> list[IndexedCapture]:
    """The captures fit to replace a page, the best one first.

    A capture has status 200, or none if it is a revisit, and holds HTML or text. A revisit of a
    payload of another type in the index, such as an image, is left out. A capture is within the
    window around the submission, on the side named by the policy. Of equally near ones the earlier
    comes first: later ones are more often replaced pages.
    """
    listed = list(captures)
    stored = [each for each in listed if not each.is_revisit]
    pages = {each.digest for each in stored if _is_page(each)}
    others = {each.digest for each in stored} - pages
    fitting = [
        each
        for each in listed
        if _is_page(each)
        and not (each.is_revisit and each.digest in others)
        and abs(each.at - when) <= window
        and not (policy == "before" and each.at > when)
        and not (policy == "after" and each.at < when)
    ]
    return sorted(fitting, key=lambda each: (abs(each.at - when), each.at, each.digest))


def _is_page(capture: IndexedCapture) -> bool:
    if capture.is_revisit:
        return capture.status in (None, 200)
    kind = capture.mime.partition(";")[0].strip().lower()
    return capture.status == 200 and kind in _TYPES
