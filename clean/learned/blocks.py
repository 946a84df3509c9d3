"""Cuts HTML into text blocks in one compiled pass: no tree is built, and each byte is read once.

A block is the text between two block-level boundaries: a paragraph, a heading, a cell, a list
item's own words. Each block comes with counts of its text, its element, and the distance to the
tags and hint words (`class`, `id`, `role`, ...) above it: these distinguish content from
decoration.

Tags are read as browsers read them (the WHATWG HTML standard's tokenizer and the text-moving parts
of its tree construction): void elements, optional end tags, end tags without a start, comments, raw
text, paragraphs ended by a block, cells and rows without a table. There are two simplifications. An
element nested deeper than `MAX_DEPTH` replaces its parent, as in browsers (there at 512). A
formatting element interrupted by a block is not opened again, except for a link.

Time is linear in the bytes for any input: no search goes back, and every search of the open
elements is bounded by `MAX_DEPTH`. Memory is bounded by the bytes and by `MAX_BLOCKS`.

Terms of the kernel, in all files of the pass:

- `stack`: the open elements, one row a level; its columns are `OPEN_*`.
- `near`: for each level and channel, the nearest level above to open the channel.
- `reg`: registers shared by the parts of the pass; indices are `AT_*`.
- `now`: counts of the block being read; columns as in `counts`.
- `found`: findings of `read_attributes`; indices are `FOUND_*`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from clean.learned import markup
from clean.learned.compiled import compiled_without_arrays
from clean.learned.layout import (
    AT_BLOCKS,
    AT_BREAK,
    AT_FIELDS,
    AT_IMAGES,
    AT_LEVEL,
    AT_NUM_ELEMENTS,
    AT_OUT,
    AT_SPACE,
    AT_TAG_START,
    AT_TAGS,
    AT_WORDLESS,
    FOUND_CLOSED,
    FOUND_KEY,
    FOUND_VALUE,
    FOUND_VALUE_END,
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_TITLE_WORDS,
    NOSCRIPT_NAME,
    NUM_AT,
    NUM_COUNTS,
    NUM_FOUND,
    NUM_OPEN,
    NUM_PLACE,
    OPEN_BLOCK_ELEMENT,
    OPEN_ELEMENT,
    OPEN_SKIP,
    SOFT_SPACE,
    TAG_BODY,
    TAG_BR,
    TAG_CITE,
    TAG_HEAD,
    TAG_HTML,
    TAG_IMG,
    TAG_LINK,
    TAG_META,
    TAG_NOSCRIPT,
    TAG_P,
    TAG_SVG,
    TAG_TABLE,
    TAG_TIME,
    TAG_TITLE,
)
from clean.learned.markup import NUM_CHANNELS
from clean.learned.nesting import close, imply, pop_tag, push
from clean.learned.tokens import (
    clear,
    end_of_comment,
    end_of_raw,
    find,
    read_attributes,
    read_hints,
    read_name,
)
from clean.learned.words import flush, keep_title, read_text


class PageBlocks(NamedTuple):
    """A page's blocks, b of them, in page order.

    `text` is the visible text with white space collapsed and entities as written. Blocks are the
    ranges from START to END in `place`. Elements, e of them, are in the order of their start tags
    and have a parent; -1 is the parent of the outermost.
    """

    text: np.ndarray  # (bytes,) uint8, UTF-8
    counts: np.ndarray  # (b, NUM_COUNTS) int32, see layout
    place: np.ndarray  # (b, NUM_PLACE) int32, see layout
    channels: (
        np.ndarray
    )  # (b, NUM_CHANNELS) uint8: 16 less the levels up to a hint, at least 1; 0 where there is none
    hashes: np.ndarray  # (b,) uint64, of the block's words
    parents: np.ndarray  # (e,) int32
    element_tags: np.ndarray  # (e,) uint8, see markup.TAG
    element_starts: np.ndarray  # (e,) int32, positions of the start tags in the source
    wordless: np.ndarray  # (w, 3) int32: cell, start and end in the source of text without a word
    marks: np.ndarray  # (2,) uint64, bits of the hints in what the page says of itself
    title: tuple[int, int]  # the page's own <title> as a range of its source
    num_bytes: int
    source: bytes


def blocks(source: bytes) -> PageBlocks:
    """Cuts a page given as UTF-8 into blocks. Any bytes are a page, and reading never fails."""
    data = np.frombuffer(source, np.uint8)
    num_tags = int(np.count_nonzero(data == ord("<")))
    room = min(MAX_BLOCKS, 2 * num_tags + 2)
    text = np.empty(data.size + 16, np.uint8)
    counts = np.empty((room, NUM_COUNTS), np.int32)
    place = np.empty((room, NUM_PLACE), np.int32)
    channels = np.empty((room, NUM_CHANNELS), np.uint8)
    hashes = np.empty(room, np.uint64)
    parents = np.empty(num_tags + 1, np.int32)
    element_tags = np.empty(num_tags + 1, np.uint8)
    element_starts = np.empty(num_tags + 1, np.int32)
    wordless = np.empty((room, 3), np.int32)
    marks = np.zeros(2, np.uint64)
    count, size, elements, start, end, num_wordless = scan(
        data,
        markup.tables(),
        state(),
        text,
        counts,
        place,
        channels,
        hashes,
        parents,
        element_tags,
        element_starts,
        wordless,
        marks,
    )

    return PageBlocks(
        text[:size],
        counts[:count],
        place[:count],
        channels[:count],
        hashes[:count],
        parents[:elements],
        element_tags[:elements],
        element_starts[:elements],
        wordless[:num_wordless],
        marks,
        (start, end),
        data.size,
        source,
    )


class State(NamedTuple):
    """State of the pass at a position of the page. It is made in Python because numba compiles
    array creation slowly.
    """

    stack: np.ndarray  # (MAX_DEPTH, NUM_OPEN) int32, the open elements
    near: (
        np.ndarray
    )  # (MAX_DEPTH, NUM_CHANNELS) int16, the level nearest above that has the channel
    opened: np.ndarray  # (256,) int32, how many elements of a tag are open
    reg: np.ndarray  # (NUM_AT,) int64, see layout
    now: np.ndarray  # (NUM_COUNTS,) int32, the counts of the block that is being read
    block_hash: np.ndarray  # (1,) uint64
    title_words: np.ndarray  # (slots,) uint64
    mask: np.ndarray  # (2,) uint64, bits of the hints of a tag
    attributes: np.ndarray  # (NUM_FOUND,) int64, see layout


def state() -> State:
    """The state at the beginning of a page."""
    return State(
        stack=np.zeros((MAX_DEPTH, NUM_OPEN), np.int32),
        near=np.zeros((MAX_DEPTH, NUM_CHANNELS), np.int16),
        opened=np.zeros(256, np.int32),
        reg=np.zeros(NUM_AT, np.int64),
        now=np.zeros(NUM_COUNTS, np.int32),
        block_hash=np.zeros(1, np.uint64),
        title_words=np.zeros(MAX_TITLE_WORDS * 4, np.uint64),
        mask=np.zeros(2, np.uint64),
        attributes=np.zeros(NUM_FOUND, np.int64),
    )


@compiled_without_arrays
def scan(
    data: Any,
    tables: Any,
    at: Any,
    text: Any,
    counts: Any,
    place: Any,
    channels: Any,
    hashes: Any,
    parents: Any,
    element_tags: Any,
    element_starts: Any,
    wordless: Any,
    marks: Any,
) -> Any:
    """Fills the arrays with a page.

    Returns the numbers of blocks, bytes of text and elements, start and end of the title, and the
    number of wordless cells.
    """
    size = data.size
    stack, near, opened, reg, now, block_hash, title_words, mask, attributes = at
    stack[0, OPEN_ELEMENT] = -1
    stack[0, OPEN_BLOCK_ELEMENT] = -1
    title_start = -1
    title_end = -1
    position = 0

    while position < size and reg[AT_BLOCKS] < place.shape[0]:
        opening = data[position] == 60
        following = data[position + 1] if position + 1 < size else np.uint8(0)
        closing = following == 47
        first = data[position + 2] if closing and position + 2 < size else following
        if not (
            opening and 97 <= (first | 32) <= 122
        ):  # no tag: a comment, or text up to the next `<`
            if opening and (following == 33 or following == 63 or closing):
                position = end_of_comment(data, position)
            elif stack[reg[AT_LEVEL], OPEN_SKIP]:
                position += 1
                while position < size and data[position] != 60:
                    position += 1
            else:
                position = read_text(
                    data,
                    position,
                    stack,
                    near,
                    tables.char_class,
                    tables.words,
                    title_words,
                    text,
                    reg,
                    now,
                    block_hash,
                    place,
                    channels,
                )
            continue

        name, name_end = read_name(data, position + (2 if closing else 1))
        tag = np.int64(find(tables.tags, name))
        flags = np.int64(tables.tag_flags[tag])
        mask[0] = 0
        mask[1] = 0
        clear(attributes)
        tag_end, complete = read_attributes(
            data, name_end, tables.attributes, tables.hints, mask, attributes, not closing
        )
        if not complete:  # browsers drop a tag that the end of the page cuts off
            break

        reg[AT_TAGS] += 1
        reg[AT_TAG_START] = position
        if (tag in (TAG_TIME, TAG_CITE)) and reg[AT_SPACE] == 0:
            reg[AT_SPACE] = SOFT_SPACE
        # The title of a drawing is no part of the text around it.
        in_drawing = tag == TAG_TITLE and opened[TAG_SVG] > 0
        if closing:
            if (flags & markup.BLOCK and not in_drawing) or tag == TAG_BR:
                flush(reg, now, block_hash, text, counts, place, hashes, wordless, position)
            if tag == TAG_BR or (tag == TAG_P and opened[TAG_P] == 0):
                reg[AT_BREAK] += 1
            else:
                close(stack, opened, reg, tables.tag_flags, tag, flags)
            position = tag_end
            continue

        foreign = opened[TAG_SVG] > 0
        if foreign and flags & markup.BLOCK and tag != TAG_TITLE:
            pop_tag(stack, opened, reg, TAG_SVG)
            foreign = False

        if opened[TAG_HEAD] and not foreign and not flags & markup.IN_HEAD:
            pop_tag(stack, opened, reg, TAG_HEAD)
        if flags & markup.BLOCK and not in_drawing:
            flush(reg, now, block_hash, text, counts, place, hashes, wordless, position)
        elif tag == TAG_BR:
            reg[AT_BREAK] += 1
            if reg[AT_BREAK] > 1:
                breaks = reg[AT_BREAK]
                flush(reg, now, block_hash, text, counts, place, hashes, wordless, position)
                reg[AT_BREAK] = breaks

        if tag == TAG_IMG:
            reg[AT_IMAGES] += 1
        elif (tag in (TAG_META, TAG_LINK)) and attributes[FOUND_KEY]:
            read_hints(
                data, attributes[FOUND_VALUE], attributes[FOUND_VALUE_END], tables.hints, marks
            )
        elif tag in (TAG_BODY, TAG_HTML):
            marks[0] |= mask[0]
            marks[1] |= mask[1]

        if flags & markup.FIELD:
            reg[AT_FIELDS] += 1
        if not foreign:
            imply(stack, opened, reg, tables.tag_flags, tag, flags)
        # `<script/>` is empty, as in XHTML and libxml2: authors who write it mean it.
        if flags & markup.RAW and not foreign and not attributes[FOUND_CLOSED]:
            stop = NOSCRIPT_NAME if opened[TAG_NOSCRIPT] > 0 else name
            content_end, tag_end_of_raw = end_of_raw(data, tag_end, name, stop)
            if tag == TAG_TITLE and title_start < 0:
                title_start = tag_end
                title_end = content_end
                keep_title(data, title_start, title_end, tables.char_class, title_words)
            position = tag_end_of_raw
            continue

        position = tag_end
        again = (tag in (TAG_BODY, TAG_HTML, TAG_HEAD)) and opened[tag] > 0
        loose = flags & markup.TABLE_PART and tag != TAG_TABLE and opened[TAG_TABLE] == 0
        empty = attributes[FOUND_CLOSED] and (foreign or flags & markup.RAW)
        if flags & markup.VOID or empty or again or loose:
            continue

        push(
            stack,
            near,
            opened,
            reg,
            tables.tag_channel,
            tag,
            flags,
            mask,
            attributes,
            parents,
            element_tags,
            element_starts,
        )

    if reg[AT_BLOCKS] < place.shape[0]:
        flush(reg, now, block_hash, text, counts, place, hashes, wordless, size)
    return (
        reg[AT_BLOCKS],
        reg[AT_OUT],
        reg[AT_NUM_ELEMENTS],
        max(title_start, 0),
        max(title_end, 0),
        reg[AT_WORDLESS],
    )
