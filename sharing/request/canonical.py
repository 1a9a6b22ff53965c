"""The one form of a request file: JSON that a person can read, and of which there is one for each content.

Members in order of their names, one space of indentation, UTF-8 as it is, a line end at the end, no number that is not
finite. What is digested and signed is these bytes; whoever reads a file writes it again and compares.
"""

from __future__ import annotations

from typing import Any, Final

from schemas import json_text
from schemas.json_text import MAX_DEPTH, NotStrict
from sharing.errors import Malformed

__all__ = ["MAX_DEPTH", "MAX_FILE", "decode", "encode", "parse"]

#: Bytes of a request file, at most.
MAX_FILE: Final = 512 << 10


def encode(value: object, what: str = "request") -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        Malformed: It holds something that JSON or UTF-8 cannot say.
    """
    try:
        return json_text.encode(value, indent=1) + b"\n"
    except NotStrict as error:
        raise Malformed(f"{what}: {error}") from None


def decode(content: bytes, what: str = "request") -> Any:
    """Return the JSON value of canonical bytes.

    Raises:
        Malformed: They are not JSON, or another form of it.
    """
    value = parse(content, what)
    if encode(value, what) != content:
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
        return json_text.parse(content, fractions=True)
    except NotStrict as error:
        raise Malformed(f"{what}: {error}") from None
