"""Ids and names that are the same for the same thing, however often and in whatever order it arrives."""

from __future__ import annotations

import hashlib
from urllib.parse import quote


def derive(type_: str, *parts: str) -> str:
    """Return the FHIR id of the thing that these parts identify: 32 hex digits, independent of time and machine.

    It hides nothing from somebody who can guess the parts, and so it is treated like an identifier: the vault
    stores only its HMAC.
    """
    return hashlib.sha256("\x1f".join((type_, *parts)).encode()).hexdigest()[:32]


def local_uri(institution: str, kind: str, name: str) -> str:
    """Return the URI of a name that only means something inside the institution."""
    return f"urn:xinglin:{institution}:{kind}:{quote(name, safe='')}"


def id_of(type_: str, system: str, value: str, institution: str) -> str:
    """Return the id of the thing that an identifier names; one without a system is the institution's own."""
    return derive(type_, system or f"institution:{institution}", value)


def id_within(type_: str, institution: str, *parts: str) -> str:
    """Return the id of a thing that only has a meaning inside something of this institution."""
    return derive(type_, f"institution:{institution}", *parts)
