r"""Text of a field without HL7's escape sequences (HL7 v2.8.2 chapter 2, section 2.7).

The parser has already brought every message to the usual delimiters ``|^~\&``.
"""

from __future__ import annotations

import re
from typing import Final

_SEQUENCE: Final = re.compile(r"\\([^\\\r\n]{0,2000}?)\\")
_PLAIN: Final = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "P": "#", "H": "", "N": ""}
_LAYOUT: Final = re.compile(r"\.(?:br|sp|fi|nf|in|ti|sk|ce)[+-]?\d{0,4}", re.IGNORECASE)
_HEX: Final = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text(raw: str) -> str:
    """Return a component as a person reads it: escapes resolved, outer blanks gone."""
    if "\\" in raw:
        raw = _SEQUENCE.sub(_resolve, raw)
    return raw.strip()


def components(raw: str, divider: str = "^") -> list[str]:
    """Return every component of a field as a person reads it."""
    if "\\" in raw:
        return [text(part) for part in raw.split(divider)]
    return [part.strip() for part in raw.split(divider)]


def free_text(raw: str) -> str:
    """Return a text field of which every character counts: escapes resolved, the layout of lines kept."""
    if "\\" in raw:
        raw = _SEQUENCE.sub(_resolve, raw)
    return raw if raw.strip() else ""


def _resolve(match: re.Match[str]) -> str:
    body = match[1]
    if body in _PLAIN:
        return _PLAIN[body]
    if _LAYOUT.fullmatch(body):
        return _layout(body.lower())
    hexadecimal = _HEX.fullmatch(body)
    return _bytes(bytes.fromhex(hexadecimal[1]), match[0]) if hexadecimal else match[0]


def _layout(command: str) -> str:
    if command == ".br" or command.startswith((".sp", ".ce")):
        return "\n" * min(int(command[3:].lstrip("+-") or 1), 20)
    return " " if command.startswith(".sk") else ""


def _bytes(data: bytes, sequence: str) -> str:
    r"""Characters of ``\Xdd..\``: the standard leaves the charset open; what is no text stays as it came."""
    for codec in ("utf-8", "gb18030"):
        try:
            return _CONTROL.sub("", data.decode(codec).replace("\r\n", "\n").replace("\r", "\n"))
        except UnicodeDecodeError:
            continue
    return sequence
