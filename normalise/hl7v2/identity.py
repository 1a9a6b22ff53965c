"""Systems: what the names of coding systems and assigning authorities are as URIs."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from normalise.hl7v2.tables import ASSIGNERS, CODE_SYSTEMS, table_key
from normalise.ids import local_uri

_OID: Final = re.compile(r"[0-2](?:\.\d{1,40}){1,40}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_HL7_TABLE: Final = re.compile(r"(?:HL7)?(0\d{3})", re.ASCII)
_URI: Final = re.compile(r"(?:https?://|urn:[a-z0-9][a-z0-9-]+:)[\x21-\x7e]+")


@lru_cache(maxsize=4096)
def code_system(name: str, institution: str) -> str:
    """Return the URI of a coding system as CWE.3 names it; local names become the institution's own URIs."""
    known = CODE_SYSTEMS.get(table_key(name))
    if known:
        return known
    table = _HL7_TABLE.fullmatch(name)
    if table:
        return f"http://terminology.hl7.org/CodeSystem/v2-{table[1]}"
    return _global(name) or local_uri(institution, "codes", name)


@lru_cache(maxsize=4096)
def assigner(namespace: str, universal: str, institution: str) -> tuple[str, str]:
    """Return the system of identifiers from an HD, and the name of who assigns them (``""`` where unsaid).

    The universal id decides when it is an OID, a UUID or a URI; else the namespace, inside the institution.
    """
    for name in (universal, namespace):
        if name in ASSIGNERS:
            uri, display = ASSIGNERS[name]
            return uri, namespace or display
    known = _global(universal) or _global(namespace)
    if known:
        return known, namespace if _global(namespace) is None else ""
    name = namespace or universal
    return (local_uri(institution, "ids", name), name) if name else ("", "")


def _global(name: str) -> str | None:
    if _OID.fullmatch(name):
        return f"urn:oid:{name}"
    if _UUID.fullmatch(name):
        return f"urn:uuid:{name.lower()}"
    return name if _URI.fullmatch(name) else None
