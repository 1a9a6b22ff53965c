"""The shapes a record takes on its way through the house, from raw bytes to a ledger entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

#: What one record ends as. Every record received ends as exactly one of these.
Outcome = Literal["sealed", "duplicate", "quarantined", "filtered"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not accepted, in the sender's own terms.

    Attributes:
        code: A key of ``schemas.reasons.REASONS``.
        where: The sender's coordinates (``PID-7``, ``OBX[3]-5``, ``MSH-9``, ``file byte 812``) or ``""``.
        message: What was expected, what came (its shape, never its value) and what to do. No patient data.
    """

    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as its source sent it, before anything looked inside.

    Attributes:
        source: Id of the source (``sources/<id>.yaml``).
        native_id: The sender's own id for it (for HL7 v2: MSH-3, MSH-4 and MSH-10), or ``""``.
        content: The bytes, undecoded.
        media: What the bytes are: a key of ``normalise.media.MEDIA`` (``hl7v2``, ``dicom``).
        received_at: When it was received, with an offset.
        position: Where it stood at the source (``message 3 of file 7f3a…``). No patient data, no file name.
        bulk: Names under which its large parts (pixel data) lie in the vault's bulk store; who erases its patient
            erases them.
    """

    source: str
    native_id: str
    content: bytes
    media: str
    received_at: datetime
    position: str = ""
    bulk: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something a source holds that cannot become a record: too large, cut off, or not its protocol.

    Attributes:
        source: Id of the source.
        refusal: Why.
        digest: SM3 of the bytes seen, hex.
        size: Bytes seen.
        head: The first bytes, at most 64 KiB, kept encrypted for whoever repairs it.
        received_at: When it was met, with an offset.
        position: Where it stood at the source.
    """

    source: str
    refusal: Refusal
    digest: str
    size: int
    head: bytes
    received_at: datetime
    position: str = ""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What normalising must know of a source and cannot read from its messages.

    Attributes:
        source: Id of the source.
        institution: Id of the institution that owns the source; scopes local identifiers.
        time_zone: IANA name of the zone that times without an offset are in.
        charset: Python codec name for messages that declare none, or ``auto`` to detect it.
        mapping: The source's own mapping document (``sources/mappings/<name>.yaml``), or ``{}``.
    """

    source: str
    institution: str
    time_zone: str
    charset: str = "auto"
    mapping: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """One FHIR R4 resource that a record became.

    Attributes:
        body: The resource as plain JSON values, with ``resourceType`` and ``id``.
        segment: Where in the sender's record it comes from (``PID``, ``OBX[3]``).
        patient: ``id`` of the Patient under whose key it is sealed, or None for the institution's own
            (Organization, Practitioner, Location).
        mode: ``update`` replaces what is stored; ``ensure`` is only stored where nothing stands yet (a
            laboratory result's PID says who the patient is, and is no news about the patient).
    """

    body: dict[str, Any]
    segment: str
    patient: str | None
    mode: Literal["update", "ensure"] = "update"

    @property
    def type(self) -> str:
        """FHIR resource type."""
        return str(self.body["resourceType"])

    @property
    def id(self) -> str:
        """FHIR logical id, the same for the same thing however often and in whatever order it arrives."""
        return str(self.body["id"])


@dataclass(frozen=True, slots=True)
class Normalised:
    """What one raw record became.

    Attributes:
        resources: In the order of the sender's segments; references point at ids inside or at stable ids.
        notes: What was kept as it came but could not be read fully (an unmapped code, a date that is none).
        mapping: Version of the mapping tables that made it.
        facts: Plain values of the message that quality rules read beside the resources, by coordinate
            (``MSH-9.1``). They never leave the process.
        unmapped: System, code and display of each use of a code that no standard system knows.
    """

    resources: tuple[Resource, ...]
    notes: tuple[Refusal, ...] = ()
    mapping: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    unmapped: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger is told of one sealed resource: digests and a locator, nothing of its content.

    Attributes:
        rid: 16 bytes, HMAC-SM3 of type and id under the institution's secret.
        version: From 1, one more for every change of the resource.
        ct_digest: SM3 of the sealed envelope, 32 bytes.
        key_commit: Commitment to the data key, 32 bytes.
        summary_digest: SM3 of the sealed summary, or 32 zero bytes.
        ct_len: Length of the envelope in bytes.
        resource_type: Number of the FHIR type in ``schemas/resource_types.json``.
        locator: The envelope's ``_id`` in the institution's vault.
    """

    rid: bytes
    version: int
    ct_digest: bytes
    key_commit: bytes
    summary_digest: bytes
    ct_len: int
    resource_type: int
    locator: str
