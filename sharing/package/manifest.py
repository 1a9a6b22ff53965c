"""The manifest of a dataset: what it holds, for whom, allowed by what, made from what (docs/formats/dataset.md).

Canonical JSON: keys sorted, nothing between the signs, whole numbers only. Whoever reads one makes the bytes again and
compares, so that one manifest has one digest. No patient's data stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeVar

from ledger.chain.validators import institution_id
from ledger.encoding import DIGEST, PUBLIC_KEY
from ledger.errors import ProofError
from ledger.messages.manifest_word import manifest_message
from ledger.proofs.strict_json import Fields, parse
from schemas import json_text
from schemas.sharing import Excluded
from shangmi import MalformedInput, PublicKey, sm3
from sharing.errors import Malformed
from sharing.package.sealing import CHUNK, SALT_BYTES, SECRET_BYTES

FORMAT: Final = "xinglin-dataset/v1"
MAX_MANIFEST: Final = 1 << 20
MAX_SECTIONS: Final = 5_000
_WRAPPED: Final = 97 + SECRET_BYTES
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
_MEDIA: Final = re.compile(r"[a-z]{1,40}/[A-Za-z0-9.+-]{1,80}")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COLUMN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Section:
    """One file of a dataset.

    Attributes:
        name: Up to four names with ``/`` between; safe as a path.
        media_type: What it is.
        sealed: Whether only the recipient can read it.
        offset: Where it begins in the package.
        size: Bytes of it there.
        digest: SM3 of those bytes.
    """

    name: str
    media_type: str
    sealed: bool
    offset: int
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: The ViewDefinition's.
        rows: In all its sections.
        columns: Name and Arrow type of each, in order.
        sections: The Parquet files it consists of, in order.
    """

    name: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    sections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """What the exporter says of a dataset; the writer adds what it knows itself.

    Attributes:
        chain_id: The region's chain.
        holder_key: The holder's registered public key, x||y, that will sign.
        request_file: The request as people read and signed it; goes in readable.
        asked: Its digest as the ACCESS_REQ names it.
        policies: The policy set in force at the decision, as ``ledger.contracts.policy`` encodes it; goes in readable.
        consents: Digest over every statement of consent that was applied, 32 bytes.
        profile: Name of the de-identification profile, and SM3 of it as it was applied.
        made_height: Height of the holder's replica when it was made.
        made_ms: Time of that block, milliseconds since 1970 UTC.
        keep_until: Date by which the recipient deletes it.
        persons: Whose records are in it; how many.
        records: Source records in it; how many.
        tables: The tables.
        excluded: What each stage left out.
    """

    chain_id: bytes
    holder_key: bytes
    request_file: bytes
    asked: bytes
    policies: bytes
    consents: bytes
    profile: tuple[str, bytes]
    made_height: int
    made_ms: int
    keep_until: date
    persons: int
    records: int
    tables: tuple[Table, ...]
    excluded: tuple[Excluded, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, read or about to be written; the names are those of ``ManifestFacts`` where they mean the same.

    Attributes:
        request: Id of the ACCESS_REQ that it answers.
        holder: Who made it, by its id in region.yaml.
        recipient: Whose key opens it, x||y.
        salt: The dataset's own.
        wrapped: Its secret, encrypted to the recipient by SM2.
        commitment: To that secret.
        policies: SM3 of the policy set in it.
        sections: Every file in it, one behind the other.
    """

    chain_id: bytes
    request: bytes
    asked: bytes
    holder: str
    holder_key: bytes
    recipient: bytes
    salt: bytes
    wrapped: bytes
    commitment: bytes
    policies: bytes
    consents: bytes
    profile: tuple[str, bytes]
    made_height: int
    made_ms: int
    keep_until: date
    persons: int
    records: int
    tables: tuple[Table, ...]
    excluded: tuple[Excluded, ...]
    sections: tuple[Section, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes; NotStrict where a text in it is none."""
        return json_text.encode(
            {
                "format": FORMAT,
                "chain_id": self.chain_id.hex(),
                "request": self.request.hex(),
                "asked": self.asked.hex(),
                "holder": {"id": self.holder, "key": self.holder_key.hex()},
                "recipient": self.recipient.hex(),
                "key": {
                    "salt": self.salt.hex(), "wrapped": self.wrapped.hex(), "commitment": self.commitment.hex(),
                    "chunk": CHUNK,
                },
                "policies": self.policies.hex(),
                "consents": self.consents.hex(),
                "profile": {"name": self.profile[0], "digest": self.profile[1].hex()},
                "made": {"height": self.made_height, "time_ms": self.made_ms},
                "keep_until": self.keep_until.isoformat(),
                "counts": {"persons": self.persons, "records": self.records},
                "tables": [
                    {"name": one.name, "rows": one.rows, "columns": [list(each) for each in one.columns],
                     "sections": list(one.sections)}
                    for one in self.tables
                ],
                "excluded": [
                    {"stage": one.stage, "reason": one.reason, "count": one.count} for one in self.excluded
                ],
                "sections": [
                    {"name": one.name, "media_type": one.media_type, "sealed": one.sealed, "offset": one.offset,
                     "size": one.size, "sm3": one.digest.hex()}
                    for one in self.sections
                ],
            }
        )  # fmt: skip

    @property
    def digest(self) -> bytes:
        """SM3 of the canonical bytes, as DELIVERED names it."""
        return sm3(self.encode())

    def message(self, digest: bytes) -> bytes:
        """Return what the holder signs for this manifest with this digest."""
        return manifest_message(self.chain_id, institution_id(self.holder), self.request, digest)

    def section(self, name: str) -> Section:
        """Return a file's place; KeyError where there is none of this name."""
        return next((one for one in self.sections if one.name == name), None) or _missing(name)

    def table(self, name: str) -> Table:
        """Return a table; KeyError where there is none of this name."""
        return next((one for one in self.tables if one.name == name), None) or _missing(name)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read a manifest, or raise Malformed; no signature is verified here."""
        try:
            found = _read(Fields(parse(data, "manifest"), "manifest"))
        except (ProofError, MalformedInput) as error:
            raise Malformed(str(error)) from None
        if found.encode() != data:
            raise Malformed("manifest: not in its canonical form")
        return found


def check_name(name: str) -> str:
    """Return the name of a file where it is one; Malformed otherwise."""
    if not _NAME.fullmatch(name):
        raise Malformed("a file's name: expected up to four names of letters, digits, . _ - with / between")
    return name


def _missing(name: str) -> Any:
    raise KeyError(name)


def _read(fields: Fields) -> Manifest:
    fields.constant("format", FORMAT)
    holder, key = fields.part("holder", ("id", "key")), fields.part("key", ("salt", "wrapped", "commitment", "chunk"))
    profile, made = fields.part("profile", ("name", "digest")), fields.part("made", ("height", "time_ms"))
    counts = fields.part("counts", ("persons", "records"))
    if key.whole("chunk") != CHUNK:
        raise ProofError(f"key: chunk is not {CHUNK}")
    found = Manifest(
        chain_id=fields.hex("chain_id", DIGEST),
        request=fields.hex("request", DIGEST),
        asked=fields.hex("asked", DIGEST),
        holder=_text(holder.take("id"), _WORD, "holder: id"),
        holder_key=PublicKey.from_bytes(holder.hex("key", PUBLIC_KEY)).bytes,
        recipient=PublicKey.from_bytes(fields.hex("recipient", PUBLIC_KEY)).bytes,
        salt=key.hex("salt", SALT_BYTES),
        wrapped=key.hex("wrapped", _WRAPPED),
        commitment=key.hex("commitment", DIGEST),
        policies=fields.hex("policies", DIGEST),
        consents=fields.hex("consents", DIGEST),
        profile=(_text(profile.take("name"), _WORD, "profile: name"), profile.hex("digest", DIGEST)),
        made_height=made.whole("height"),
        made_ms=made.whole("time_ms"),
        keep_until=_date(fields.take("keep_until")),
        persons=counts.whole("persons"),
        records=counts.whole("records"),
        tables=_listed(fields.take("tables"), _table, "tables"),
        excluded=_listed(fields.take("excluded"), _excluded, "excluded"),
        sections=_listed(fields.take("sections"), _section, "sections"),
    )
    fields.end()
    _check_names(found)
    return found


def _check_names(found: Manifest) -> None:
    names = {one.name for one in found.sections}
    tables = {one.name for one in found.tables}
    if len(names) != len(found.sections) or len(tables) != len(found.tables):
        raise ProofError("manifest: a file or a table stands twice")
    parts = [name for one in found.tables for name in one.sections]
    if len(set(parts)) != len(parts) or not {one.name for one in found.sections if one.sealed} >= set(parts):
        raise ProofError("manifest: a table's file is missing, is not sealed, or is another table's too")


def _table(value: object) -> Table:
    fields = Fields(value, "table").only(("name", "rows", "columns", "sections"))
    name = _text(fields.take("name"), _NAME, "table: name")
    columns = _listed(fields.take("columns"), _column, "columns")
    if len({one for one, _ in columns}) != len(columns):
        raise ProofError("table: a column stands twice")
    sections = _listed(fields.take("sections"), lambda one: _text(one, _NAME, "table: section"), "sections")
    return Table(name, fields.whole("rows"), columns, sections)


def _column(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise ProofError("table: a column is its name and its type")
    name, type_ = (_text(one, _COLUMN, "table: column") for one in value)
    return name, type_


def _excluded(value: object) -> Excluded:
    fields = Fields(value, "excluded").only(("stage", "reason", "count"))
    stage, reason = (_text(fields.take(one), _WORD, f"excluded: {one}") for one in ("stage", "reason"))
    return Excluded(stage, reason, fields.whole("count"))


def _section(value: object) -> Section:
    fields = Fields(value, "section").only(("name", "media_type", "sealed", "offset", "size", "sm3"))
    return Section(
        _text(fields.take("name"), _NAME, "section: name"), _text(fields.take("media_type"), _MEDIA, "media_type"),
        fields.flag("sealed"), fields.whole("offset"), fields.whole("size"), fields.hex("sm3", DIGEST),
    )  # fmt: skip


def _listed(value: object, read: Callable[[object], Found], what: str) -> tuple[Found, ...]:
    if not isinstance(value, list) or len(value) > MAX_SECTIONS:
        raise ProofError(f"{what}: expected a list of at most {MAX_SECTIONS}")
    return tuple(map(read, value))


def _text(value: object, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ProofError(f"{what} is not of the form that this format allows")
    return value


def _date(value: object) -> date:
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.isoformat() != value:
        raise ProofError("keep_until is no date of the form 2027-01-31")
    return found
