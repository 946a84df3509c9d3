"""The names of a corpus's crawler, from the first record of its WARC segments."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from corpus.storage.store import Store
from corpus.tables.segments import segment_files

_AGENT = re.compile(rb"(?im)^http-header-user-agent:\s*([^\r\n]+)")
HEAD_BYTES = 4 << 10


def crawler_names(store: Store, batches: Sequence[str]) -> list[str]:
    """User agents of the batches' segments, each once."""
    found: set[str] = set()
    for batch in batches:
        for path, _ in segment_files(store, batch)[:1]:
            with store.open_input(path) as stream:
                head = bytes(stream.read(HEAD_BYTES))
            try:
                text = zlib.decompressobj(31).decompress(head)
            except zlib.error:
                continue
            if (match := _AGENT.search(text)) is not None:
                found.add(match[1].decode("latin-1"))

    return sorted(found)
