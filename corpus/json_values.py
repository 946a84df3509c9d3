"""JSON of other people: every fault in it is a ValueError."""

from __future__ import annotations

import json
from typing import Any


def json_value(data: str | bytes) -> Any:
    """The value of a JSON text.

    Raises: ValueError if it is not JSON or nests too deeply, for which Python has another error that
    readers forget.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
