"""Packages taken apart and put together again by somebody who has the holder's key, or has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.chain.validators import institution_id
from ledger.messages.manifest_word import manifest_message
from shangmi import PrivateKey, sm3
from sharing.package.container import FOOTER_BYTES, HEADER_BYTES


@dataclass
class Forged:
    """A package in pieces; change them, then ``write``."""

    header: bytes
    sections: dict[str, bytes]
    manifest: dict[str, Any]
    footer: bytes
    order: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> Forged:
        data = path.read_bytes()
        offset = int.from_bytes(data[-FOOTER_BYTES:][:8], "big")
        manifest = json.loads(data[offset:-FOOTER_BYTES])
        sections = {one["name"]: data[one["offset"] : one["offset"] + one["size"]] for one in manifest["sections"]}
        return cls(data[:HEADER_BYTES], sections, manifest, data[-FOOTER_BYTES:], list(sections))

    def settle(self) -> None:
        """Offsets, sizes and digests in the manifest are those of the sections as they are now."""
        offset = HEADER_BYTES
        for one in self.manifest["sections"]:
            content = self.sections[one["name"]]
            one |= {"offset": offset, "size": len(content), "sm3": sm3(content).hex()}
            offset += len(content)

    def write(self, path: Path, key: PrivateKey, encode: Callable[[Any], bytes] | None = None) -> Path:
        """The package lies there, signed with this key as far as its manifest says for whom."""
        encoded = (encode or compact)(self.manifest)
        body = self.header + b"".join(self.sections[one] for one in self.order)
        path.write_bytes(body + encoded + self.ending(len(body), encoded, key))
        return path

    def ending(self, offset: int, encoded: bytes, key: PrivateKey) -> bytes:
        found = self.manifest
        try:
            message = manifest_message(
                bytes.fromhex(found["chain_id"]), institution_id(found["holder"]["id"]),
                bytes.fromhex(found["request"]), sm3(encoded),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError):
            message = encoded
        return offset.to_bytes(8, "big") + len(encoded).to_bytes(4, "big") + key.sign(message) + self.footer[-8:]


def compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
