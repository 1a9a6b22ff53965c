"""Evidence: bytes that prove to anybody that an institution broke the rules of agreement (section 10).

It holds what was signed, the signatures and the signer's place among the members of that height's epoch. Nobody has to
believe who found it; what it costs is decided here, once, by every replica alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.chain.header import Header
from ledger.chain.rules import Ledger
from ledger.chain.state import EVIDENCE
from ledger.chain.validators import Member
from ledger.credit.broken_build import check_broken, find_broken
from ledger.credit.contradictions import contradiction, find_contradictions
from ledger.credit.credit import count_broken_build, credit_of, punish
from ledger.credit.offences import BROKEN_BUILD, DOUBLE_BUILD, OFFENCES, VIOLATION, Offence
from ledger.credit.statements import Announcement, Statement, Voters, opened
from ledger.encoding import SIGNATURE, Reader, listed, u8, u16, var
from ledger.errors import Refused
from shangmi import sm3

#: Offences that signed statements prove, each by its code in the bytes.
KINDS: Final = {kind: name for kind, name in OFFENCES.items() if kind != VIOLATION}
#: Bytes of one piece of evidence, at most; a block's own bound on it is the same.
MAX_EVIDENCE_BYTES: Final = 1 << 18
_MESSAGE = 512
_DOMAIN = b"XL/EVID/1\0"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One proof against one institution.

    Attributes:
        kind: Which rule, one of ``KINDS``.
        place: The signer's place among the members of the height's epoch, in order of id.
        signed: One or two signed byte strings with their signatures, in order of the strings.
        shown: For builds: the header of each; for ``BROKEN_BUILD``: the header and the part that breaks a rule.
    """

    kind: int
    place: int
    signed: tuple[tuple[bytes, bytes], ...]
    shown: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = b"".join(var(message) + signature for message, signature in self.signed)
        return _DOMAIN + u8(self.kind) + u16(self.place) + u8(len(self.signed)) + rows + listed(self.shown)

    @classmethod
    def decode(cls, data: bytes) -> Evidence:
        """Read evidence, or raise Malformed; nothing in it is verified yet."""
        reader = Reader(data, "evidence")
        if len(data) > MAX_EVIDENCE_BYTES:
            raise reader.wrong(f"{len(data)} bytes, at most {MAX_EVIDENCE_BYTES}")
        reader.constant(_DOMAIN)
        kind, place, count = reader.u8(), reader.u16(), reader.u8()
        if kind not in KINDS or count != (1 if kind == BROKEN_BUILD else 2):
            raise reader.wrong(f"kind {kind} with {count} statements is none")
        signed = tuple((reader.var(_MESSAGE), reader.take(SIGNATURE)) for _ in range(count))
        shown = reader.listed(2, MAX_EVIDENCE_BYTES)
        reader.end()
        if len(shown) != (2 if kind in (DOUBLE_BUILD, BROKEN_BUILD) else 0):
            raise reader.wrong(f"kind {kind} shows {len(shown)} parts")
        if count == 2 and not signed[0][0] < signed[1][0]:
            raise reader.wrong("the two statements are not in order, or are the same")
        return cls(kind, place, signed, shown)

    @property
    def id(self) -> bytes:
        """What it is accepted once under: signer and pair of statements, or the build, whatever signatures prove it.

        Votes do not name their voter: two who sign the same two ways are two offences.
        """
        parts = [self.shown[0]] if self.kind == BROKEN_BUILD else [message for message, _ in self.signed]
        return sm3(b"XL/EVID-ID/1\0" + u16(self.place) + listed(parts))


@dataclass(frozen=True, slots=True)
class Conviction:
    """What verified evidence proves.

    Attributes:
        id: Id of the evidence.
        kind: Which rule.
        height: Height that the statements are about.
        institution: Who signed.
        reason: The rule in words.
    """

    id: bytes
    kind: int
    height: int
    institution: bytes
    reason: str


def convict(data: bytes, voters: Voters) -> Conviction:
    """Return what evidence proves, everything in it verified; it needs nothing but the voters of its height.

    Raises:
        Refused: It proves nothing.
    """
    evidence = Evidence.decode(data)
    said = [opened(message, voters.chain_id) for message, _ in evidence.signed]
    member = _signer(evidence, said[0].height, voters)
    headers = [Header.decode(one) for one in evidence.shown[: len(evidence.signed)]]
    statements = [
        Statement(member.id, message, signature, one, headers[at] if headers else None)
        for at, ((message, signature), one) in enumerate(zip(evidence.signed, said, strict=True))
    ]
    reason = KINDS[evidence.kind]
    for one in statements:
        if one.header is not None and (
            not isinstance(one.said, Announcement) or one.said.block_id != one.header.block_id
        ):
            raise Refused("evidence", "10", "the header shown is not the one that was signed")
    if evidence.kind == BROKEN_BUILD:
        reason = _broken(statements[0], evidence.shown[1], voters)
    elif contradiction(*statements) != evidence.kind:
        raise Refused("evidence", "10", f"the two statements are not {reason}")
    for message, signature in evidence.signed:
        if not member.verify(signature, message):
            raise Refused("evidence", "10", "a statement is not signed by the member it names")
    return Conviction(evidence.id, evidence.kind, said[0].height, member.id, reason)


def _signer(evidence: Evidence, height: int, voters: Voters) -> Member:
    members = voters.at(height)
    if members is None or evidence.place >= len(members.members):
        raise Refused("evidence", "10", f"the chain knows no member {evidence.place} at height {height}")
    return members.members[evidence.place]


def _broken(build: Statement, part: bytes, voters: Voters) -> str:
    header = build.header
    if header is None or header.chain_id != voters.chain_id or header.builder_id != build.institution:
        raise Refused("evidence", "10", "the block was not built by who signed it")
    return check_broken(header, part, voters)


def execute(data: bytes, ledger: Ledger) -> bytes:
    """The institution that the evidence convicts bears what section 11 says; return the evidence's id.

    Two statements of one height cost all credit, the seat from the epoch's end on, and at once the key; a broken
    build costs 20 points. What was signed no later than an earlier conviction was punished with it.

    Raises:
        Refused: It proves nothing, or nothing new, or is too old.
    """
    evidence = Evidence.decode(data)
    height = opened(evidence.signed[0][0], ledger.chain_id).height
    oldest = ledger.height - ledger.parameters.evidence_blocks
    if not oldest <= height <= ledger.height:
        raise Refused("evidence age", "10", f"it is of height {height}, expected {max(oldest, 0)} to {ledger.height}")
    if ledger.get(EVIDENCE, evidence.id) is not None:
        raise Refused("repeated evidence", "10", "the same was proved before")
    found = convict(data, Voters.known_to(ledger.chain_id, ledger))
    if found.kind == BROKEN_BUILD:
        count_broken_build(ledger, found.institution)
    else:
        if credit_of(ledger, found.institution).convicted_at >= height:
            raise Refused("repeated evidence", "10", "what was signed at that height is punished already")
        punish(ledger, found.institution)
    ledger.put(EVIDENCE, found.id, Offence(found.kind, found.institution, height, ledger.height).encode())
    return found.id


def find_evidence(messages: Iterable[bytes], voters: Voters) -> list[bytes]:
    """Return evidence of everything that these messages prove, at least one piece for each institution and rule.

    Args:
        messages: Votes, certificates, timeout certificates and proposals as they travel, from anywhere.
        voters: Who could sign what.
    """
    kept = list(messages)
    found = []
    for rule, first, second in find_contradictions(kept, voters):
        signed = (first.message, first.signature), (second.message, second.signature)
        shown = tuple(one.header.encode() for one in (first, second) if one.header) if rule == DOUBLE_BUILD else ()
        found.append(Evidence(rule, _place(first, voters), signed, shown))
    for proposal in kept:
        for build, header, part in find_broken(proposal, voters):
            member = voters.member(header.height, build.institution)
            if member is not None and member.verify(build.signature, build.message):
                signed_build = ((build.message, build.signature),)
                found.append(Evidence(BROKEN_BUILD, _place(build, voters), signed_build, (header.encode(), part)))
    by_id = {one.id: one.encode() for one in found}
    return [data for data in by_id.values() if len(data) <= MAX_EVIDENCE_BYTES]


def _place(statement: Statement, voters: Voters) -> int:
    members = voters.at(statement.said.height)
    if members is None:
        raise RuntimeError("a statement was verified against members that are not known")
    return [one.id for one in members.members].index(statement.institution)
