"""Where summary keys are granted in the exchange, and how a member finds those meant for it (section 18)."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.chain.validators import institution_id
from ledger.errors import Refused
from ledger.exchange import Exchange
from ledger.messages.key_grants import MAX_GRANT, Decrypts, KeyGrant


class GrantedKeys:
    """The summary keys that an institution was granted, fetched from the exchange as they are needed."""

    def __init__(self, exchange: Exchange, institution: str, key: Decrypts) -> None:
        self._exchange, self._id, self._key = exchange, institution_id(institution), key
        self._known: dict[bytes, bytes | None] = {}

    def secret(self, key_id: bytes, publisher: str) -> bytes | None:
        """Return a publisher's summary key, or None where it was not granted to this institution."""
        if key_id not in self._known:
            self._known[key_id] = next(self._granted(key_id, publisher), None)
        return self._known[key_id]

    def _granted(self, key_id: bytes, publisher: str) -> Iterator[bytes]:
        for data in self._exchange.read(grant_topic(key_id), MAX_GRANT):
            try:
                found = KeyGrant.decode(data)
                if found.id == key_id and found.granter == publisher:
                    secret = found.open(self._id, self._key)
                    if secret is not None:
                        yield secret
            except Refused:
                continue  # anyone may list anything there


def grant_topic(key_id: bytes) -> str:
    """Return the topic under which a summary key is granted."""
    return f"summary-key/{key_id.hex()}"
