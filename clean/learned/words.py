"""Reads text into words and blocks: the innermost loop of the compiled pass.

`blocks` explains the names of arrays. A character has a class (`layout`): letters, capitals and
digits form words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clean.learned.compiled import inner
from clean.learned.layout import (
    ANCHORS,
    AT_BLOCKS,
    AT_BREAK,
    AT_FIELDS,
    AT_IMAGES,
    AT_INDENT,
    AT_LEVEL,
    AT_OPEN,
    AT_OUT,
    AT_OUT_START,
    AT_SPACE,
    AT_TAGS,
    AT_WORDLESS,
    BOLD_CHARS,
    BREAKS,
    CAPITAL,
    CAPITALS,
    CELL,
    CHARS,
    COMMA,
    COMMAS,
    DEPTH,
    DIGIT,
    DIGITS,
    ELEMENT,
    END,
    ENDS,
    FIELDS,
    FIRST_CLASS,
    FNV_OFFSET,
    FNV_PRIME,
    GROUP,
    HIDDEN,
    IMAGES,
    IN_HEADING,
    ITEM,
    LAST_CLASS,
    LETTER,
    LINK_CHARS,
    LINK_WORDS,
    LINKS,
    LONG_WORDS,
    MAX_TITLE_WORDS,
    NEAREST,
    NUMBERS,
    OPEN_BLOCK_ELEMENT,
    OPEN_BLOCK_TAG,
    OPEN_BOLD,
    OPEN_CELL,
    OPEN_HEADING,
    OPEN_HIDDEN,
    OPEN_ITEM,
    OPEN_LINK,
    OPEN_PRE,
    OPEN_ROW,
    OPEN_TAG,
    OTHER,
    OUTER_TAG,
    POSITION,
    PRE,
    QUOTE,
    ROW,
    SOFT_SPACE,
    SPACE,
    START,
    STOP,
    SYMBOL,
    SYMBOLS,
    TAB,
    TAG_OF,
    TAGS_SEEN,
    TEXT_PRIME,
    TITLE_WORDS,
    UPPER,
    WORDS,
)
from clean.learned.tokens import clear, find

COLON = 58
# Spaces at a line's beginning to indent a verse; a single one is an accident.
MIN_INDENT = 2


@inner
def keep_title(data: Any, start: Any, end: Any, char_class: Any, title_words: Any) -> None:
    """Puts the hashes of the title's words into a small hash table."""
    state = FNV_OFFSET
    length = 0
    count = 0
    last = np.uint64(title_words.size - 1)

    for index in range(start, end + 1):
        byte = data[index] if index < end else np.uint8(32)
        kind = char_class[byte]
        if byte >= 128 or kind in (LETTER, CAPITAL, DIGIT):
            state = (state ^ np.uint64(byte | 32 if kind == CAPITAL else byte)) * FNV_PRIME
            length += 1
            continue

        if length > 1 and count < MAX_TITLE_WORDS:
            slot = (state ^ (state >> np.uint64(29))) & last
            while title_words[slot] != 0 and title_words[slot] != state:
                slot = (slot + np.uint64(1)) & last
            title_words[slot] = state
            count += 1

        state = FNV_OFFSET
        length = 0


@inner
def flush(
    reg: Any,
    now: Any,
    block_hash: Any,
    text: Any,
    counts: Any,
    place: Any,
    hashes: Any,
    wordless: Any,
    position: Any,
) -> None:
    """Ends the current block.

    A block without a word is dropped with its text. In a cell of a table it is noted as wordless,
    so that a row can be shown whole.
    """
    reg[AT_SPACE] = 0
    reg[AT_BREAK] = 0
    reg[AT_INDENT] = 0
    if now[CHARS] == 0:
        return

    block = reg[AT_BLOCKS]
    if now[WORDS] == 0 or block >= place.shape[0]:
        if block < place.shape[0] and place[block, CELL] and reg[AT_WORDLESS] < wordless.shape[0]:
            wordless[reg[AT_WORDLESS], 0] = place[block, CELL]
            wordless[reg[AT_WORDLESS], 1] = now[POSITION]
            wordless[reg[AT_WORDLESS], 2] = position
            reg[AT_WORDLESS] += 1
        reg[AT_OUT] = reg[AT_OUT_START]
        clear(now)
        block_hash[0] = 0
        return

    now[IMAGES] = reg[AT_IMAGES]
    now[FIELDS] = reg[AT_FIELDS]
    now[TAGS_SEEN] = reg[AT_TAGS]
    reg[AT_IMAGES] = 0
    reg[AT_FIELDS] = 0
    reg[AT_TAGS] = 0
    for column in range(now.size):
        counts[block, column] = now[column]
    hashes[block] = block_hash[0]
    place[block, START] = reg[AT_OUT_START]
    place[block, END] = reg[AT_OUT]
    reg[AT_OUT_START] = reg[AT_OUT]
    reg[AT_BLOCKS] += 1
    clear(now)
    block_hash[0] = 0


@inner
def begin(
    stack: Any, near: Any, reg: Any, now: Any, place: Any, channels: Any, position: Any
) -> None:
    """Begins a block at its first character: the block takes the position of that character."""
    level = reg[AT_LEVEL]
    block = reg[AT_BLOCKS]
    reg[AT_OUT_START] = reg[AT_OUT]
    place[block, TAG_OF] = stack[level, OPEN_BLOCK_TAG]
    place[block, OUTER_TAG] = stack[level, OPEN_TAG]
    place[block, ELEMENT] = stack[level, OPEN_BLOCK_ELEMENT]
    place[block, DEPTH] = level
    place[block, HIDDEN] = stack[level, OPEN_HIDDEN]
    place[block, PRE] = stack[level, OPEN_PRE]
    place[block, ITEM] = stack[level, OPEN_ITEM]
    place[block, ROW] = stack[level, OPEN_ROW]
    place[block, CELL] = stack[level, OPEN_CELL]
    place[block, IN_HEADING] = stack[level, OPEN_HEADING]
    for channel in range(channels.shape[1]):
        nearest = near[level, channel]
        channels[block, channel] = max(1, NEAREST - (level - nearest)) if nearest > 0 else 0

    now[POSITION] = position


@inner
def end_word(
    state: Any,
    length: Any,
    digits: Any,
    capital: Any,
    link: Any,
    groups: Any,
    title_words: Any,
    now: Any,
    block_hash: Any,
) -> None:
    """Counts a word."""
    now[WORDS] += 1
    block_hash[0] = (block_hash[0] ^ state) * TEXT_PRIME
    if link:
        now[LINK_WORDS] += 1
    if capital:
        now[CAPITALS] += 1

    if digits == length:
        now[NUMBERS] += 1
    elif length > 6:
        now[LONG_WORDS] += 1

    bits = np.int64(find(groups, state))
    group = GROUP
    while bits:
        now[group] += bits & 1
        bits >>= 1
        group += 1

    if length > 1:
        last = np.uint64(title_words.size - 1)
        slot = (state ^ (state >> np.uint64(29))) & last
        while title_words[slot] != 0:
            if title_words[slot] == state:
                now[TITLE_WORDS] += 1
                break
            slot = (slot + np.uint64(1)) & last


@inner
def entity_end(data: Any, position: Any) -> Any:
    """The end of the character reference at `position`, or `position` if no semicolon ends one."""
    end = position + 1
    while end < data.size and end < position + 12:
        byte = data[end]
        if byte == 59:
            return end + 1 if end > position + 1 else position
        if not (48 <= byte <= 57 or 97 <= (byte | 32) <= 122 or byte == 35):
            return position
        end += 1

    return position


@inner
def entity_class(data: Any, position: Any, end: Any) -> Any:
    """The class of a reference's character, as far as it matters."""
    first = data[position + 1]
    if end - position < 4:
        return LETTER
    if first == 35:
        number = 0
        hexadecimal = (data[position + 2] | 32) == 120
        for index in range(position + (3 if hexadecimal else 2), end - 1):
            byte = data[index]
            if hexadecimal:
                number = number * 16 + (byte - 48 if byte < 58 else (byte | 32) - 87)
            else:
                number = number * 10 + (byte - 48)
        if number == 173 or number == 8203:  # a hyphen or break that may be there and is not
            return OTHER
        if number == 160 or number <= 32 or 8192 <= number <= 8202 or number == 8239:
            return SPACE
        if number < 128:
            return QUOTE
        return QUOTE if 8208 <= number <= 8223 else SYMBOL if 8224 <= number < 12288 else LETTER

    second = data[position + 2]
    if (
        end - position == 5 and first == 115 and second == 104 and data[position + 3] == 121
    ):  # &shy;
        return OTHER
    if (
        end - position == 6 and first == 110 and second == 98 and data[position + 3] == 115
    ):  # &nbsp;
        return SPACE
    if first == 113 or second == 115 or second == 100 or (second == 113 and first != 101):
        return QUOTE  # quot lsquo rsquo ldquo rdquo
    if end - position <= 6 and (first == 97 or first == 108 or first == 103):
        return SYMBOL  # amp lt gt
    if first == 110 or first == 109:
        return QUOTE if data[position + 3] == 97 else SYMBOL  # ndash mdash middot

    return LETTER


@inner
def is_mojibake(data: Any, position: Any, width: Any, text: Any, out: Any) -> Any:
    """True for a no-break space behind a letter like UTF-8's first byte read as windows-1252.

    Both together may be one character decoded wrongly. Normalisation repairs it, and needs
    the space as it was.
    """
    if width == 1 or out < 2:
        return False
    if text[out - 2] == 0xC3 and (text[out - 1] == 0x82 or text[out - 1] == 0x83):
        return True
    # &Acirc; and &Atilde;
    if text[out - 1] != 59 or out < 8:
        return False
    if text[out - 7] == 38 and text[out - 6] == 65 and text[out - 5] == 99:
        return True

    return text[out - 8] == 38 and text[out - 7] == 65 and text[out - 6] == 116


@inner
def read_text(
    data: Any,
    position: Any,
    stack: Any,
    near: Any,
    char_class: Any,
    groups: Any,
    title_words: Any,
    text: Any,
    reg: Any,
    now: Any,
    block_hash: Any,
    place: Any,
    channels: Any,
) -> Any:
    """Reads text up to the next `<`. At the beginning, `<` is text itself. Returns the end."""
    size = data.size
    level = reg[AT_LEVEL]
    pre = stack[level, OPEN_PRE] != 0
    link = stack[level, OPEN_LINK] != 0
    reveals = now[CHARS] > 0 and stack[level, OPEN_HIDDEN] == 0
    chars_before = now[CHARS]
    bold = stack[level, OPEN_BOLD] != 0
    out = reg[AT_OUT]
    start = position
    state = FNV_OFFSET
    length = 0
    digits = 0
    capital = False

    while position < size:
        byte = data[position]
        if byte == 60 and position > start:
            break

        width = 1
        alone = False
        if byte < 128:
            kind = np.int64(char_class[byte])
            if byte == 38:
                end = entity_end(data, position)
                if end > position:
                    width = end - position
                    kind = np.int64(entity_class(data, position, end))
        else:
            kind = np.int64(LETTER)
            if byte >= 0xF0:
                width = 4
                kind = np.int64(SYMBOL)
            elif byte >= 0xE0:
                width = 3
                second = data[position + 1] if position + 1 < size else np.uint8(0)
                third = data[position + 2] if position + 2 < size else np.uint8(0)
                if byte == 0xE2:
                    kind = np.int64(SYMBOL)
                    if second == 0x80:
                        if third == 0x8B:
                            kind = np.int64(OTHER)
                        elif third <= 0x8A or third == 0xAF or third == 0xA8 or third == 0xA9:
                            kind = np.int64(SPACE)
                        elif third <= 0x8F:  # zero-width characters part no words
                            kind = np.int64(LETTER)
                        elif third <= 0x9F:
                            kind = np.int64(QUOTE)
                        elif third == 0xA6:
                            kind = np.int64(STOP)
                elif byte == 0xE3 and second == 0x80:
                    kind = np.int64(SPACE if third == 0x80 else STOP if third == 0x82 else COMMA)
                elif byte == 0xEF and second == 0xBC:
                    kind = np.int64(STOP if third == 0x81 or third == 0x9F else COMMA)
                elif byte == 0xEF and second == 0xBB and third == 0xBF:
                    kind = np.int64(SPACE)
                elif 0xE3 <= byte <= 0xE9:
                    alone = True
            else:
                width = 2
                if byte == 0xC2:
                    second = data[position + 1] if position + 1 < size else np.uint8(0)
                    kind = np.int64(
                        SPACE if second == 0xA0 else OTHER if second == 0xAD else SYMBOL
                    )
            width = min(width, size - position)

        if kind == OTHER:
            position += width
            continue

        in_word = kind in (LETTER, CAPITAL, DIGIT)
        if length > 0 and (not in_word or alone):
            end_word(state, length, digits, capital, link, groups, title_words, now, block_hash)
            state = FNV_OFFSET
            length = 0
            digits = 0
            capital = False

        if kind == SPACE:
            if is_mojibake(data, position, width, text, out) and now[CHARS] > 0:
                for index in range(position, position + width):
                    text[out] = data[index]
                    out += 1
            elif pre and byte != 13:
                if now[CHARS] > 0:
                    text[out] = byte if byte < 33 and byte > 0 else 32
                    out += 1
                elif byte == 10:
                    reg[AT_INDENT] = 0
                else:
                    reg[AT_INDENT] += TAB if byte == 9 else 1
            else:
                reg[AT_SPACE] = 1
                if reg[AT_BREAK] > 0 and width > 1:
                    reg[AT_INDENT] += 1  # spaces that a browser does not collapse
            position += width
            continue

        if now[CHARS] == 0:
            begin(stack, near, reg, now, place, channels, position)
            now[FIRST_CLASS] = kind
            if not pre:
                reg[AT_INDENT] = 0
            for _ in range(reg[AT_INDENT] // TAB):
                text[out] = 9
                out += 1
            for _ in range(reg[AT_INDENT] % TAB):
                text[out] = 32
                out += 1
            reg[AT_INDENT] = 0
        elif reg[AT_BREAK] > 0:
            text[out] = 10
            out += 1
            now[BREAKS] += 1
            if reg[AT_INDENT] >= MIN_INDENT:
                for _ in range(reg[AT_INDENT]):
                    text[out] = 32
                    out += 1
            reg[AT_INDENT] = 0
        elif reg[AT_SPACE] == SOFT_SPACE:
            after_word = now[LAST_CLASS] in (LETTER, CAPITAL, DIGIT) or text[out - 1] == COLON
            if in_word and after_word:
                text[out] = 32
                out += 1
        elif reg[AT_SPACE]:
            text[out] = 32
            out += 1

        reg[AT_SPACE] = 0
        reg[AT_BREAK] = 0
        if link and reg[AT_OPEN]:
            now[LINKS] += 1
            if reg[AT_OPEN] == 2:
                now[ANCHORS] += 1
            reg[AT_OPEN] = 0

        for index in range(position, position + width):
            text[out] = data[index]
            out += 1

        now[CHARS] += 1
        now[LAST_CLASS] = kind
        if link:
            now[LINK_CHARS] += 1
        if bold:
            now[BOLD_CHARS] += 1

        if in_word:
            if kind == CAPITAL:
                now[UPPER] += 1
                if length == 0:
                    capital = True
                state = (state ^ np.uint64(byte | 32)) * FNV_PRIME
            else:
                if kind == DIGIT:
                    now[DIGITS] += 1
                    digits += 1
                for index in range(position, position + width):
                    state = (state ^ np.uint64(data[index])) * FNV_PRIME
            length += 1
        elif kind == STOP:
            now[ENDS] += 1
        elif kind == COMMA:
            now[COMMAS] += 1
        elif kind == SYMBOL:
            now[SYMBOLS] += 1

        position += width

    if length > 0:
        end_word(state, length, digits, capital, link, groups, title_words, now, block_hash)
    reg[AT_OUT] = out
    # A block beginning hidden is shown if a part of it is.
    if reveals and now[CHARS] > chars_before:
        place[reg[AT_BLOCKS], HIDDEN] = 0

    return position
