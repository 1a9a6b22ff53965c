"""What can be looked up without being stored: HMAC-SM3 of ids, identifiers and codes under the index secret."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from shangmi import hmac_sm3
from vault.keystore import FileKeystore

TOKEN_BYTES: Final = 16
#: Types that people look up by a number they hold in their hands.
IDENTIFIED: Final = frozenset(
    {"Patient", "Encounter", "Coverage", "Practitioner", "Organization", "DiagnosticReport", "ServiceRequest"}
)


def framed(*parts: str) -> bytes:
    """Return the parts with their lengths, so that no two lists give the same bytes."""
    return b"".join(len(raw := part.encode()).to_bytes(4, "big") + raw for part in parts)


class BlindIndex:
    """Computes the tokens of one institution; another institution's are unrelated."""

    def __init__(self, keystore: FileKeystore) -> None:
        self._rid_key = keystore.index_secret("XL/RID/1")
        self._token_key = keystore.index_secret("XL/TOKEN/1")
        self.token = lru_cache(maxsize=65_536)(self._token)
        self.rid = lru_cache(maxsize=65_536)(self._rid)

    def _rid(self, resource_type: str, id_: str) -> bytes:
        return hmac_sm3(self._rid_key, framed(resource_type, id_))[:TOKEN_BYTES]

    def _token(self, kind: str, *values: str) -> bytes:
        return hmac_sm3(self._token_key, framed(kind, *values))[:TOKEN_BYTES]

    def owner(self, patient: str | None) -> bytes:
        """Return the token of the patient whose key seals a resource, or of the institution itself."""
        return self.token("institution") if patient is None else self.token("patient", patient)

    def tokens(self, body: dict[str, Any]) -> list[bytes]:
        """Return the tokens a resource is found by: ``identifier`` and ``code``, as far as it has them."""
        found = {self.token("code", system, code) for system, code in _codings(body.get("code"))}
        if body["resourceType"] in IDENTIFIED:
            found |= {self.token("identifier", system, value) for system, value in _identifiers(body)}
        return sorted(found)


def _codings(concept: Any) -> Iterator[tuple[str, str]]:
    if isinstance(concept, dict):
        for coding in concept.get("coding", ()):
            if "code" in coding:
                yield str(coding.get("system", "")), str(coding["code"])


def _identifiers(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for one in body.get("identifier", ()):
        if "value" in one:
            yield str(one.get("system", "")), str(one["value"])
