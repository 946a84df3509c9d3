"""The stack of open elements: the effects of start and end tags, explicit and implied.

Source: WHATWG HTML, section 13.2.6, in part. `blocks` explains the names of arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clean.learned import markup
from clean.learned.compiled import inner
from clean.learned.layout import (
    AT_LEVEL,
    AT_NUM_ELEMENTS,
    AT_OPEN,
    AT_TAG_START,
    FIRST_TAG_CHANNEL,
    FOUND_ADDRESS,
    FOUND_HIDES,
    FOUND_OPEN,
    HIDDEN_BY_STYLE,
    MAX_DEPTH,
    NUM_OPEN,
    OPEN_BLOCK_ELEMENT,
    OPEN_BLOCK_TAG,
    OPEN_BOLD,
    OPEN_CELL,
    OPEN_ELEMENT,
    OPEN_HEADING,
    OPEN_HIDDEN,
    OPEN_ITEM,
    OPEN_LINK,
    OPEN_PRE,
    OPEN_ROW,
    OPEN_SKIP,
    OPEN_TAG,
    TAG_A,
    TAG_ADDRESS,
    TAG_BODY,
    TAG_BUTTON,
    TAG_DD,
    TAG_DIALOG,
    TAG_DIV,
    TAG_DT,
    TAG_HTML,
    TAG_LI,
    TAG_P,
    TAG_PRE,
    TAG_TABLE,
    TAG_TBODY,
    TAG_TD,
    TAG_TFOOT,
    TAG_TH,
    TAG_THEAD,
    TAG_TR,
)


@inner
def push(
    stack: Any,
    near: Any,
    opened: Any,
    reg: Any,
    tag_channel: Any,
    tag: Any,
    flags: Any,
    mask: Any,
    attributes: Any,
    parents: Any,
    element_tags: Any,
    element_starts: Any,
) -> None:
    """Opens an element. It inherits from the open ones."""
    if reg[AT_LEVEL] == MAX_DEPTH - 1:
        opened[stack[reg[AT_LEVEL], OPEN_TAG]] -= 1
        reg[AT_LEVEL] -= 1

    below = reg[AT_LEVEL]
    level = below + 1
    reg[AT_LEVEL] = level
    element = reg[AT_NUM_ELEMENTS]
    reg[AT_NUM_ELEMENTS] += 1
    parents[element] = stack[below, OPEN_ELEMENT]
    element_tags[element] = tag
    element_starts[element] = reg[AT_TAG_START]
    opened[tag] += 1
    for column in range(NUM_OPEN):
        stack[level, column] = stack[below, column]
    stack[level, OPEN_TAG] = tag
    stack[level, OPEN_ELEMENT] = element
    if attributes[FOUND_HIDES] and stack[level, OPEN_HIDDEN] != HIDDEN_BY_STYLE:
        stack[level, OPEN_HIDDEN] = attributes[FOUND_HIDES]
    if tag == TAG_DIALOG and not attributes[FOUND_OPEN]:
        stack[level, OPEN_HIDDEN] = HIDDEN_BY_STYLE
    if flags & markup.SKIP:
        stack[level, OPEN_SKIP] = 1
    if flags & markup.BOLD:
        stack[level, OPEN_BOLD] = 1
    if flags & markup.HEADING:
        stack[level, OPEN_HEADING] = 1
    if flags & markup.BLOCK:
        stack[level, OPEN_BLOCK_TAG] = tag
        stack[level, OPEN_BLOCK_ELEMENT] = element

    if tag == TAG_A and attributes[FOUND_ADDRESS]:
        stack[level, OPEN_LINK] = element + 1
        # Counted once, with the first text of the link. Anchors within the page are counted apart.
        reg[AT_OPEN] = attributes[FOUND_ADDRESS]
    elif tag == TAG_PRE:
        stack[level, OPEN_PRE] = 1
    elif tag == TAG_LI:
        stack[level, OPEN_ITEM] = element + 1
    elif tag == TAG_TR:
        stack[level, OPEN_ROW] = element + 1
        stack[level, OPEN_CELL] = 0
    elif tag in (TAG_TD, TAG_TH):
        stack[level, OPEN_CELL] = element + 1
    elif tag == TAG_TABLE:
        stack[level, OPEN_ROW] = 0
        stack[level, OPEN_CELL] = 0

    for channel in range(near.shape[1]):
        near[level, channel] = near[below, channel]
    for part in range(2):
        bits = mask[part]
        channel = 64 * part
        while bits != 0:
            if bits & np.uint64(1):
                near[level, channel] = level
            bits >>= np.uint64(1)
            channel += 1

    if tag_channel[tag] >= 0:
        near[level, FIRST_TAG_CHANNEL + tag_channel[tag]] = level


@inner
def pop_to(stack: Any, opened: Any, reg: Any, level: Any) -> None:
    """Closes the elements from the innermost down to `level`, inclusive."""
    while reg[AT_LEVEL] >= level:
        opened[stack[reg[AT_LEVEL], OPEN_TAG]] -= 1
        reg[AT_LEVEL] -= 1


@inner
def pop_tag(stack: Any, opened: Any, reg: Any, tag: Any) -> None:
    """Closes the innermost element of a tag, and all within it."""
    level = reg[AT_LEVEL]
    while level > 0 and stack[level, OPEN_TAG] != tag:
        level -= 1
    if level > 0:
        pop_to(stack, opened, reg, level)


@inner
def close(stack: Any, opened: Any, reg: Any, tag_flags: Any, tag: Any, flags: Any) -> None:
    """Closes the element of an end tag if it is open and in scope."""
    if tag in (TAG_BODY, TAG_HTML) or tag == 0:
        if tag == 0 and stack[reg[AT_LEVEL], OPEN_TAG] == 0 and reg[AT_LEVEL] > 0:
            pop_to(stack, opened, reg, reg[AT_LEVEL])
        return

    heading = flags & markup.HEADING
    if opened[tag] == 0 and not heading:
        return

    block = flags & markup.BLOCK
    part = flags & markup.TABLE_PART
    level = reg[AT_LEVEL]

    while level > 0:
        other = stack[level, OPEN_TAG]
        other_flags = tag_flags[other]
        if other == tag or (heading and other_flags & markup.HEADING):
            pop_to(stack, opened, reg, level)
            return
        if not block and other_flags & markup.BLOCK:
            break

        if part:
            if other == TAG_TABLE:
                break
        elif other_flags & markup.SCOPE:
            break

        level -= 1

    if tag == TAG_A:
        for each in range(reg[AT_LEVEL] + 1):
            stack[each, OPEN_LINK] = 0


@inner
def imply(stack: Any, opened: Any, reg: Any, tag_flags: Any, tag: Any, flags: Any) -> None:
    """Closes the elements ended by a start tag without an end tag."""
    if flags & markup.CLOSES_P and opened[TAG_P]:
        level = reg[AT_LEVEL]
        while (
            level > 0
            and stack[level, OPEN_TAG] != TAG_P
            and not tag_flags[stack[level, OPEN_TAG]] & markup.SCOPE
        ):
            level -= 1
        if stack[level, OPEN_TAG] == TAG_P:
            pop_to(stack, opened, reg, level)

    if flags & markup.HEADING:
        if tag_flags[stack[reg[AT_LEVEL], OPEN_TAG]] & markup.HEADING:
            pop_to(stack, opened, reg, reg[AT_LEVEL])
    elif (tag == TAG_LI and opened[TAG_LI]) or (
        (tag in (TAG_DD, TAG_DT)) and (opened[TAG_DD] or opened[TAG_DT])
    ):
        level = reg[AT_LEVEL]
        while level > 0:
            other = stack[level, OPEN_TAG]
            if other == TAG_LI if tag == TAG_LI else other in (TAG_DD, TAG_DT):
                pop_to(stack, opened, reg, level)
                break
            special = tag_flags[other] & (markup.BLOCK | markup.SCOPE)
            if special and other != TAG_DIV and other != TAG_P and other != TAG_ADDRESS:
                break
            level -= 1
    elif (tag in (TAG_A, TAG_BUTTON)) and opened[tag]:
        close(stack, opened, reg, tag_flags, tag, flags)
    elif flags & markup.TABLE_PART and tag != TAG_TABLE and opened[TAG_TABLE]:
        level = reg[AT_LEVEL]
        cell = tag in (TAG_TD, TAG_TH)
        while level > 0:
            other = stack[level, OPEN_TAG]
            if other == TAG_TABLE or (cell and other == TAG_TR):
                break
            if (cell or tag == TAG_TR) and (other in (TAG_TBODY, TAG_THEAD, TAG_TFOOT)):
                break
            level -= 1
        pop_to(stack, opened, reg, level + 1)
