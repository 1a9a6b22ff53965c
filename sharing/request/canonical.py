"""The one form of a request file: JSON that a person can read, and of which there is one for each content.

Members in order of their names, one space of indentation, UTF-8 as it is, a line end at the end, no number that is not
finite. What is digested and signed is these bytes; whoever reads a file writes it again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sharing.errors import Malformed

#: Bytes of a request file, at most.
MAX_FILE: Final = 512 << 10
#: Lists and objects in each other, at most.
MAX_DEPTH: Final = 40


def encode(value: object) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        Malformed: It holds something that JSON or UTF-8 cannot say.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
        return text.encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise Malformed(f"request: holds what a file cannot say ({type(error).__name__})") from None


def decode(content: bytes, what: str = "request") -> Any:
    """Return the JSON value of canonical bytes.

    Raises:
        Malformed: They are not JSON, or another form of it.
    """
    value = parse(content, what)
    if encode(value) != content:
        raise Malformed(
            f"{what}: the same content in another form than the canonical one; only `xinglin request sign` writes it, "
            "nobody edits it afterwards"
        )
    return value


def parse(content: bytes, what: str) -> Any:
    """Return the JSON value of bytes, however they are set out.

    Raises:
        Malformed: They are not JSON, hold a member twice, or nest too deep.
    """
    if not isinstance(content, bytes) or len(content) > MAX_FILE:
        raise Malformed(f"{what}: expected at most {MAX_FILE} bytes")
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise Malformed(f"{what}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"{what}: line {error.lineno}, column {error.colno}: not JSON") from None
    except (ValueError, RecursionError):
        raise Malformed(f"{what}: not JSON that this format allows") from None
    if _depth(value) > MAX_DEPTH:
        raise Malformed(f"{what}: more than {MAX_DEPTH} lists and objects in each other")
    return value


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed("request: a member stands twice")
        found[key] = value
    return found


def _refuse(_: str) -> float:
    raise Malformed("request: a number that is not finite")


def _depth(value: object) -> int:
    """Return how deep lists and objects stand in each other, without recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        left += [(each, depth + 1) for each in inner]
    return deepest
