r"""Whose a record is, written before it where the source knows and the record itself does not say.

A watch's file names no person; the folder it lies in or the topic it was published under does. Where a source's
settings say where the user stands, the connector writes one line before the bytes as they were sent::

    xinglin-user: <user id, UTF-8, percent-encoded>\n\n<the record>

A user id of the form ``system|value`` (as in FHIR's token search) names the identifier's system, too.
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote, unquote

_MARK: Final = b"xinglin-user: "
_END: Final = b"\n\n"
#: Longest user id, in bytes as it is written.
_LONGEST: Final = 1024


def attributed(user: str, content: bytes) -> bytes:
    """Return the record with its user's id before it; unchanged where there is none."""
    if not user:
        return content
    written = quote(user, safe="|:@/.").encode()
    if len(written) > _LONGEST:  # cut off, it might be somebody else's
        written = f"sha256:{hashlib.sha256(user.encode()).hexdigest()}".encode()
    return _MARK + written + _END + content


def attribution(content: bytes) -> tuple[str, bytes]:
    """Return the user's id that stands before a record, or ``""``, and the record as it was sent."""
    if not content.startswith(_MARK):
        return "", content
    end = content.find(_END, len(_MARK), len(_MARK) + _LONGEST + len(_END))
    if end < 0:
        return "", content
    return unquote(content[len(_MARK) : end].decode("ascii", "replace")), content[end + len(_END) :]
