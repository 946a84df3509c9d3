"""Tags, attributes, comments and raw text: the tokenizer of the compiled pass.

Source: WHATWG HTML, section 13.2.5. `blocks` explains the names of arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clean.learned.compiled import inner
from clean.learned.layout import (
    FOUND_ADDRESS,
    FOUND_CLOSED,
    FOUND_HIDES,
    FOUND_KEY,
    FOUND_VALUE,
    FOUND_VALUE_END,
    HIDDEN_BY_STYLE,
    HIDDEN_FROM_READERS,
    OFF_SCREEN,
    SELF_KEYS,
)


@inner
def clear(array: Any) -> None:
    """Sets every entry to 0."""
    for index in range(array.size):
        array[index] = 0


@inner
def find(table: Any, key: Any) -> Any:
    """The value of a key in a `markup.Lookup`, or 0."""
    keys, values = table
    last = np.uint64(keys.size - 1)
    slot = (key ^ (key >> np.uint64(29))) & last

    while keys[slot] != 0:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + np.uint64(1)) & last

    return values.dtype.type(0)


@inner
def read_name(data: Any, position: Any) -> Any:
    """(name of a tag or attribute as one number, its end). A name of over twelve characters is 0."""
    start = position
    number = np.uint64(0)
    while position < data.size:
        byte = data[position]
        if byte <= 32 or byte == 47 or byte == 62 or (byte == 61 and position > start):
            break
        number = number * np.uint64(38) + np.uint64(digit(byte))
        position += 1

    if position - start > 12:
        number = np.uint64(0)
    return number, position


@inner
def read_attributes(
    data: Any, position: Any, attributes: Any, hints: Any, mask: Any, found: Any, wanted: Any
) -> Any:
    """(end of the tag, True if the tag has an end). Sets the bits of hint words in `mask`.

    `found` gets the findings: hidden, address, kind of metadata, self-closing, and the range of the
    address or content.
    """
    size = data.size
    while position < size:
        byte = data[position]
        if byte == 62:
            return position + 1, True
        if byte <= 32:
            position += 1
            continue
        if byte == 47:
            position += 1
            found[FOUND_CLOSED] = position < size and data[position] == 62
            continue

        name, position = read_name(data, position)
        while position < size and data[position] <= 32:
            position += 1
        start = position
        end = position

        if position < size and data[position] == 61:
            position += 1
            while position < size and data[position] <= 32:
                position += 1
            if position < size and (data[position] == 34 or data[position] == 39):
                quote = data[position]
                position += 1
                start = position
                while position < size and data[position] != quote:
                    position += 1
                end = position
                if position == size:
                    return size, False
                position += 1
            else:
                start = position
                while position < size and data[position] > 32 and data[position] != 62:
                    position += 1
                end = position

        if not wanted:
            continue

        kind = find(attributes, name)
        if kind == 1:
            read_hints(data, start, end, hints, mask)
        elif kind == 2:
            if hides(data, start, end):
                found[FOUND_HIDES] = HIDDEN_BY_STYLE
            elif found[FOUND_HIDES] == 0 and is_off_screen(data, start, end):
                found[FOUND_HIDES] = OFF_SCREEN
        elif kind == 3:
            found[FOUND_HIDES] = HIDDEN_BY_STYLE
        elif kind == 4:
            if found[FOUND_HIDES] == 0 and end - start == 4 and data[start] == 116:
                found[FOUND_HIDES] = HIDDEN_FROM_READERS
        elif kind == 5:
            found[FOUND_ADDRESS] = 2 if end > start and data[start] == 35 else 1
            found[FOUND_VALUE] = start
            found[FOUND_VALUE_END] = end
        elif 6 <= kind <= 8:
            found[FOUND_KEY] = 0
            for key in range(SELF_KEYS.size):
                if packed(data, start, end) == SELF_KEYS[key]:
                    found[FOUND_KEY] = 1
        elif kind == 9:
            found[FOUND_VALUE] = start
            found[FOUND_VALUE_END] = end

    return size, False


@inner
def packed(data: Any, start: Any, end: Any) -> Any:
    """A value as one number, as names are. A value of over twelve characters is 0."""
    number = np.uint64(0)
    if end - start > 12:
        return number
    for index in range(start, end):
        number = number * np.uint64(38) + np.uint64(digit(data[index]))
    return number


@inner
def digit(byte: Any) -> Any:
    """A character of a name as a number from 1 to 37."""
    lower = byte | 32
    if 97 <= lower <= 122:
        return lower - 96
    return byte - 21 if 48 <= byte <= 57 else 37


@inner
def read_hints(data: Any, start: Any, end: Any, hints: Any, mask: Any) -> None:
    """Sets the bits of the hint words in a value. Words end at a non-letter and before a capital."""
    state = 0
    length = 0
    previous_lower = False

    for index in range(start, end + 1):
        byte = data[index] if index < end else np.uint8(0)
        lower = byte | 32
        letter = 97 <= lower <= 122

        if not letter or (previous_lower and byte < 97):
            if length > 0 and hints.depth[state] == length:
                mask[0] |= hints.whole[state, 0]
                mask[1] |= hints.whole[state, 1]
            length = 0
            if not letter or hints.depth[state] == 0:
                state = 0

        previous_lower = bool(letter and byte >= 97)
        if letter:
            state = hints.after[state, lower - 97]
            length += 1
            mask[0] |= hints.inside[state, 0]
            mask[1] |= hints.inside[state, 1]


@inner
def hides(data: Any, start: Any, end: Any) -> Any:
    """True if a style says `display: none` or `visibility: hidden`."""
    for index in range(start, end - 3):
        first = data[index] | 32
        if first == 110 and (data[index + 1] | 32) == 111 and (data[index + 2] | 32) == 110:
            before = index - 1
            while before > start and data[before] == 32:
                before -= 1
            if before > start and data[before] == 58 and (data[before - 1] | 32) == 121:
                return 1

        if first == 104 and (data[index + 1] | 32) == 105:
            before = index - 1
            while before > start and data[before] == 32:
                before -= 1
            if before > start + 2 and data[before] == 58 and (data[before - 1] | 32) == 121:
                return 1

    return 0


@inner
def is_off_screen(data: Any, start: Any, end: Any) -> Any:
    """True if a style moves an element far to the left or up: a colon, a minus and three digits."""
    for index in range(start, end - 4):
        if data[index] == 58:
            sign = index + 1
            if data[sign] == 32:
                sign += 1
            if (
                sign + 3 < end
                and data[sign] == 45
                and 48 <= data[sign + 1] <= 57
                and 48 <= data[sign + 2] <= 57
                and 48 <= data[sign + 3] <= 57
                and (data[index - 1] | 32) in (116, 112)  # left, top, text-indent
            ):
                return True

    return False


@inner
def end_of_comment(data: Any, position: Any) -> Any:
    """The end of a comment, or of what browsers read as one."""
    size = data.size
    if (
        position + 3 < size
        and data[position + 1] == 33
        and data[position + 2] == 45
        and data[position + 3] == 45
    ):
        if position + 4 < size and data[position + 4] == 62:
            return position + 5
        if position + 5 < size and data[position + 4] == 45 and data[position + 5] == 62:
            return position + 6
        index = position + 6
        while index < size:
            if data[index] == 62:
                if data[index - 1] == 45 and data[index - 2] == 45:
                    return index + 1
                if data[index - 1] == 33 and data[index - 2] == 45 and data[index - 3] == 45:
                    return index + 1
            index += 1
        return size

    while position < size and data[position] != 62:
        position += 1
    return position + 1


@inner
def end_of_raw(data: Any, position: Any, name: Any, stop: Any) -> Any:
    """(end of the content, end of the end tag) of an element whose content is not markup.

    The end tag of `stop` ends it too, and is left to be read: <noscript><iframe/></noscript> is
    common, and for a browser with scripts all of it is hidden text.
    """
    size = data.size
    while position < size:
        if data[position] == 60 and position + 1 < size and data[position + 1] == 47:
            found, end = read_name(data, position + 2)
            if found == stop and stop != name:
                return position, position
            if found == name:
                content_end = position
                position = end
                while position < size and data[position] != 62:
                    position += 1
                return content_end, min(position + 1, size)
            position = max(position + 1, end - 1)
        position += 1

    return size, size
