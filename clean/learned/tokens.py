"""Tags, attributes, comments and raw text: the tokenizer of the compiled pass.

Source: WHATWG HTML, section 13.2.5. `blocks` explains the names of arrays.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned import markup
from clean.learned.compiled import inner
from clean.learned.layout import (
    FOUND_ADDRESS,
    FOUND_CLOSED,
    FOUND_HIDES,
    FOUND_KEY,
    FOUND_OPEN,
    FOUND_VALUE,
    FOUND_VALUE_END,
    HIDDEN_BY_STYLE,
    HIDDEN_FROM_READERS,
    OFF_SCREEN,
    SELF_KEYS,
)

# Names and values of style declarations, as `packed` gives them.
NAME_DISPLAY: Final = np.uint64(markup.packed("display"))
NAME_VISIBILITY: Final = np.uint64(markup.packed("visibility"))
NAME_OVERFLOW: Final = np.uint64(markup.packed("overflow"))
NAME_HEIGHT: Final = np.uint64(markup.packed("height"))
NAME_MAX_HEIGHT: Final = np.uint64(markup.packed("max-height"))
NAME_MIN_HEIGHT: Final = np.uint64(markup.packed("min-height"))
NAME_PADDING_TOP: Final = np.uint64(markup.packed("padding-top"))
NAME_FONT_SIZE: Final = np.uint64(markup.packed("font-size"))
NAME_OPACITY: Final = np.uint64(markup.packed("opacity"))
NAME_CLIP: Final = np.uint64(markup.packed("clip"))
NAME_CLIP_PATH: Final = np.uint64(markup.packed("clip-path"))
NAME_TRANSFORM: Final = np.uint64(markup.packed("transform"))
NAME_LEFT: Final = np.uint64(markup.packed("left"))
NAME_TOP: Final = np.uint64(markup.packed("top"))
NAME_RIGHT: Final = np.uint64(markup.packed("right"))
NAME_BOTTOM: Final = np.uint64(markup.packed("bottom"))
NAME_TEXT_INDENT: Final = np.uint64(markup.packed("text-indent"))
NAME_COLOR: Final = np.uint64(markup.packed("color"))
NAME_BACKGROUND: Final = np.uint64(markup.packed("background"))
VALUE_TRANSPARENT: Final = np.uint64(markup.packed("transparent"))
VALUE_WHITE: Final = np.uint64(markup.packed("white"))
VALUE_BLACK: Final = np.uint64(markup.packed("black"))
VALUE_RGB: Final = np.uint64(markup.packed("rgb"))
VALUE_RGBA: Final = np.uint64(markup.packed("rgba"))
VALUE_NONE: Final = np.uint64(markup.packed("none"))
VALUE_HIDDEN: Final = np.uint64(markup.packed("hidden"))
VALUE_COLLAPSE: Final = np.uint64(markup.packed("collapse"))
VALUE_RECT: Final = np.uint64(markup.packed("rect"))
VALUE_INSET: Final = np.uint64(markup.packed("inset"))
VALUE_SCALE: Final = np.uint64(markup.packed("scale"))
# Longer than a packed name.
VISIBILITY_CHARS: Final = len("visibility")
CONTENT_VISIBILITY_CHARS: Final = len("content-visibility")
PADDING_BOTTOM_CHARS: Final = len("padding-bottom")
# The end of the names `background-clip` and `-webkit-background-clip`.
CLIP_CHARS: Final = len("clip")
# Results of `color_of`: 24 bits of a colour, or one of the negative ones.
WHITE: Final = 0xFFFFFF
UNKNOWN_COLOR: Final = -1
SEE_THROUGH: Final = -2


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
    """(name of a tag or attribute as one number, its end). A name over twelve characters is 0."""
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
            state = hides(data, start, end)
            if state and found[FOUND_HIDES] != HIDDEN_BY_STYLE:
                found[FOUND_HIDES] = state
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
        elif kind == 10:
            found[FOUND_OPEN] = 1

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
    """Sets the bits of the hint words in a value. Words end at non-letters and before capitals."""
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
    """HIDDEN_BY_STYLE or OFF_SCREEN if the declarations of a style hide its element, else 0.

    An element without opacity is mostly faded in by a script. One without height may be the frame
    of a picture: its height is that of its padding.
    """
    state = 0
    clips = False
    no_size = False
    is_frame = False
    is_faded = False
    color = UNKNOWN_COLOR
    background = UNKNOWN_COLOR
    is_clipped_to_text = False
    position = start

    while position < end:
        while position < end and (data[position] <= 32 or data[position] == 59):
            position += 1
        name_start = position
        while position < end and data[position] != 58 and data[position] != 59:
            position += 1
        if position >= end or data[position] == 59:
            continue
        name_end = position
        while name_end > name_start and data[name_end - 1] <= 32:
            name_end -= 1
        position += 1
        while position < end and data[position] <= 32:
            position += 1

        name = packed(data, name_start, name_end)
        if name_end - name_start == CONTENT_VISIBILITY_CHARS:
            name = packed(data, name_end - VISIBILITY_CHARS, name_end)
        elif name_end - name_start == PADDING_BOTTOM_CHARS and (data[name_start] | 32) == 112:
            is_frame = True
        elif name_end - name_start > CLIP_CHARS and (
            packed_word(data, name_end - CLIP_CHARS, name_end) == NAME_CLIP
        ):
            is_clipped_to_text = True
        elif packed_word(data, name_start, name_end) == NAME_BACKGROUND:
            background = color_of(data, position, end)
        if name in (NAME_DISPLAY, NAME_VISIBILITY):
            value = packed_word(data, position, end)
            if value in (VALUE_NONE, VALUE_HIDDEN, VALUE_COLLAPSE):
                state = HIDDEN_BY_STYLE
            elif state == HIDDEN_BY_STYLE and name == NAME_DISPLAY:
                state = 0
        elif name == NAME_COLOR:
            color = color_of(data, position, end)
        elif name == NAME_OVERFLOW:
            clips = packed_word(data, position, end) == VALUE_HIDDEN
        elif name in (NAME_HEIGHT, NAME_MAX_HEIGHT):
            no_size = no_size or is_zero(data, position, end)
        elif name == NAME_OPACITY:
            is_faded = is_zero(data, position, end)
        elif name in (NAME_MIN_HEIGHT, NAME_PADDING_TOP):
            is_frame = True
        elif name == NAME_FONT_SIZE:
            if is_zero(data, position, end):
                state = HIDDEN_BY_STYLE
        elif name in (NAME_CLIP, NAME_CLIP_PATH, NAME_TRANSFORM):
            if state == 0 and is_nothing(data, position, end):
                state = OFF_SCREEN
        elif (
            name in (NAME_LEFT, NAME_TOP, NAME_TEXT_INDENT, NAME_RIGHT, NAME_BOTTOM)
            and state == 0
            and is_far_away(data, position, end)
        ):
            state = OFF_SCREEN

        while position < end and data[position] != 59:
            position += 1

    if state == 0 and no_size and not is_frame and (clips or is_faded):
        return HIDDEN_BY_STYLE
    # A picture behind the text may show through it.
    is_invisible = color == SEE_THROUGH or (color >= 0 and color == background)
    if state == 0 and is_invisible and not is_clipped_to_text:
        return HIDDEN_BY_STYLE
    return state


@inner
def color_of(data: Any, start: Any, end: Any) -> Any:
    """A colour as one number of 24 bits, `SEE_THROUGH`, or `UNKNOWN_COLOR`.

    Known are `#rgb`, `#rrggbb`, `rgb()`, `rgba()`, `white`, `black` and `transparent`.
    """
    if start >= end:
        return UNKNOWN_COLOR
    if data[start] == 35:
        return _hexadecimal_color(data, start + 1, end)

    word = packed_word(data, start, end)
    if word == VALUE_TRANSPARENT:
        return SEE_THROUGH
    if word == VALUE_WHITE:
        return WHITE
    if word == VALUE_BLACK:
        return 0
    if word not in (VALUE_RGB, VALUE_RGBA):
        return UNKNOWN_COLOR

    color = 0
    parts = 0
    number = -1
    position = start
    while position < end and data[position] != 59:
        byte = data[position]
        if byte == 46 or byte == 37:  # parts of one and of a hundred
            if parts < 3 or byte == 37:
                return UNKNOWN_COLOR
        elif 48 <= byte <= 57:
            number = (0 if number < 0 else number) * 10 + (byte - 48)
        elif number >= 0:
            if parts == 3:
                return SEE_THROUGH if number == 0 else UNKNOWN_COLOR
            color = color * 256 + min(number, 255)
            parts += 1
            number = -1
        position += 1

    return color if parts == 3 else UNKNOWN_COLOR


@inner
def _hexadecimal_color(data: Any, start: Any, end: Any) -> Any:
    color = 0
    count = 0
    while start + count < end and count < 9:
        byte = data[start + count]
        lower = byte | 32
        if not (48 <= byte <= 57 or 97 <= lower <= 102):
            break
        color = color * 16 + (byte - 48 if byte <= 57 else lower - 87)
        count += 1

    if count == 3:
        red, green, blue = color >> 8, color >> 4 & 15, color & 15
        return red * 17 << 16 | green * 17 << 8 | blue * 17
    return color if count == 6 else UNKNOWN_COLOR


@inner
def packed_word(data: Any, start: Any, end: Any) -> Any:
    """The word at `start` as one number, as `packed`."""
    stop = start
    while stop < end and 97 <= (data[stop] | 32) <= 122:
        stop += 1
    return packed(data, start, stop)


@inner
def is_zero(data: Any, start: Any, end: Any) -> Any:
    """True for a length of nothing, such as `0` and `0px`, but not for `0.5em`."""
    if start >= end or data[start] != 48:
        return False
    if start + 1 < end and data[start + 1] == 46:
        return False
    return start + 1 >= end or not 48 <= data[start + 1] <= 57


@inner
def is_nothing(data: Any, start: Any, end: Any) -> Any:
    """True for a function of zeros or ones, such as `rect(0 0 0 0)`, `rect(1px,1px,1px,1px)`,
    `inset(100%)` and `scale(0)`.
    """
    function = packed_word(data, start, end)
    position = start
    while position < end and data[position] != 40 and data[position] != 59:
        position += 1
    if position >= end or data[position] == 59:
        return False
    is_rectangle = function == VALUE_RECT
    if not is_rectangle and function != VALUE_SCALE and function != VALUE_INSET:
        return False

    least = 50 if function == VALUE_INSET else 0
    most = 100 if function == VALUE_INSET else 1 if is_rectangle else 0
    number = -1
    seen = False
    for index in range(position + 1, end):
        byte = data[index]
        if 48 <= byte <= 57:
            number = (0 if number < 0 else number) * 10 + (byte - 48)
            continue
        if byte == 46:
            return False
        if number >= 0:
            if number < least or number > most:
                return False
            seen = True
            number = -1
        if byte == 41:
            return seen

    return False


@inner
def is_far_away(data: Any, start: Any, end: Any) -> Any:
    """True for a negative length of hundreds, such as `-999px`, `-9999em` and `-100vw`."""
    return (
        start + 3 < end
        and data[start] == 45
        and 48 <= data[start + 1] <= 57
        and 48 <= data[start + 2] <= 57
        and 48 <= data[start + 3] <= 57
    )


@inner
def end_of_comment(data: Any, position: Any) -> Any:
    """The end of a comment, or of markup read as one by browsers."""
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
    """(end of the content, end of the end tag) of an element with raw text as its content.

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
