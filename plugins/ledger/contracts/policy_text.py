"""Bounds on the text of rules before the engine reads it (section 14).

The engine recurses over what it reads: some hundred brackets in each other, or some thousand ``&&`` in a row, overflow
the stack and end the process (cedarpy 4.12.2: above 35 brackets or 254 ``if`` on a stack of 512 KiB, 625 and 4,375 on
one of 8 MiB). A proposal must not be able to end every node of a region, so text is measured here first, by a scan that
does not recurse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_TEXT: Final = 40_000
MAX_RULES: Final = 200
#: Words, signs and strings in one rule; a long rule has about a hundred.
MAX_TOKENS: Final = 500
MAX_DEPTH: Final = 16
_TOKEN: Final = re.compile(r'//[^\n]*|"(?:[^"\\]|\\.)*"|\w+|\S', re.DOTALL)
#: Characters that are not seen, or that turn what is read around them: control, zero width, direction, tags.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def text_faults(text: str) -> Iterator[str]:
    """Yield what keeps a text from being handed to the engine; nothing where it may be."""
    if len(text.encode()) > MAX_TEXT:
        yield f"{len(text.encode())} bytes, at most {MAX_TEXT} are allowed"
        return
    if found := _UNSEEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        yield f"line {line}: character U+{ord(found[0]):04X} is not seen when the rule is read; take it out"
    depth = tokens = rules = 0
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word.startswith("//"):
            continue
        tokens += 1
        depth += (word in "([{") - (word in ")]}")
        if depth > MAX_DEPTH or tokens > MAX_TOKENS:
            line = text.count("\n", 0, match.start()) + 1
            yield f"line {line}: more than {MAX_TOKENS} words or {MAX_DEPTH} brackets in each other; split the rule"
            return
        if word == ";":
            tokens, rules = 0, rules + 1
    if rules > MAX_RULES:
        yield f"{rules} rules, at most {MAX_RULES} are allowed"


def nesting(encoded: str) -> int:
    """Return how deep the lists and objects of a JSON text stand in each other, without recursion."""
    depth = deepest = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', encoded):
        depth += (token[0] in "[{") - (token[0] in "]}")
        deepest = max(deepest, depth)
    return deepest


def is_line(text: str) -> bool:
    """Say whether a text is one line of characters that are seen, without spaces at its ends."""
    return bool(text) and text == text.strip() and not _UNSEEN.search(text) and not set("\n\t") & set(text)
