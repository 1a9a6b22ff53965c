"""JSON that everybody reads the same way (RFC 8259, and RFC 7493 on where parsers differ), and one text of each value.

What is digested or signed is compared as bytes: a reader takes only what it could have written itself. Each format
turns ``NotStrict`` into its own error and adds which file it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, NoReturn

#: Lists and objects in each other, at most, where a format says nothing else.
MAX_DEPTH: Final = 40


class NotStrict(Exception):
    """The bytes are not JSON that every parser reads the same way, or the value is none that JSON can say."""


class Twice(NotStrict):
    """A member stands twice in one object; parsers disagree which is meant."""


def parse(content: bytes, *, fractions: bool, depth: int = MAX_DEPTH) -> Any:
    """Return the JSON value of untrusted bytes, however they are set out; ``encode`` can write it.

    Args:
        content: As many bytes as the caller takes.
        fractions: Whether numbers may be other than whole; NaN and infinities never may.
        depth: Lists and objects in each other, at most.

    Raises:
        Twice: A member stands twice in one object.
        NotStrict: They are no JSON, or hold what RFC 7493 warns of.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=None if fractions else _refuse_fraction,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise NotStrict("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise NotStrict(f"line {error.lineno}, column {error.colno}: not JSON") from None
    except (ValueError, RecursionError) as error:
        raise NotStrict(f"not JSON that can be read ({type(error).__name__})") from None
    _check(value, depth)
    return value


def encode(value: object, *, indent: int | None = None) -> bytes:
    """Return the one text of a value: members in order of their names, UTF-8 as it is, no number that is not finite.

    Args:
        value: Of plain lists, objects, texts, numbers.
        indent: Spaces a level, one line an element; without it nothing stands between the signs.

    Raises:
        NotStrict: JSON or UTF-8 cannot say it.
    """
    between = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent, separators=between, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise NotStrict(f"holds what a file cannot say ({type(error).__name__})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Twice("a member stands twice")
    return found


def _refuse_fraction(_: str) -> NoReturn:
    raise NotStrict("a number that is not whole")


def _refuse_constant(_: str) -> NoReturn:
    raise NotStrict("a number that is not finite")


def _check(value: Any, most: int) -> None:
    """Raise NotStrict where the value is too deep, or holds 1e999 or half of a surrogate pair: what can be read only.

    Level by level and not by recursion, since whoever wrote the file chose how deep it is.
    """
    level, depth = [value], 0
    while level:
        if any(isinstance(one, float) and not isfinite(one) for one in level):
            raise NotStrict("a number that is not finite")
        if not all(_is_unicode(one) for one in level if isinstance(one, str)):
            raise NotStrict("a text that UTF-8 cannot say")
        depth += any(isinstance(one, dict | list) for one in level)
        if depth > most:
            raise NotStrict(f"more than {most} lists and objects in each other")
        level = [inner for one in level for inner in _within(one)]


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)
