"""What an offline verifier believes beforehand, and the walk from there to a certified head (section 12).

An anchor is handed over by a person. It names the chain by its genesis, or voters of a later time; how old a head may
be; and when an auditor's fresh checkpoint is demanded besides. Keys of voters long gone may have leaked: who holds
enough of them can certify another history, but cannot sign as today's auditor. Format: ``docs/formats/proof.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.agreement.certificate import QuorumCertificate, check_commit
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header
from ledger.chain.validators import ValidatorSet
from ledger.encoding import DIGEST
from ledger.errors import ProofError, Refused
from ledger.proofs.checkpoint import MAX_AHEAD_MS
from ledger.proofs.strict_json import Fields, parse

FIRST_FORMAT = "xinglin-anchor/v1"
FORMAT = "xinglin-anchor/v2"
MAX_STEPS = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """One change of voters: the last header of the old set, certified by it, and the new set it names by hash."""

    header: Header
    certificate: bytes
    following: ValidatorSet


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a verifier trusts.

    Attributes:
        genesis: The chain.
        max_age_seconds: How old the head may be, and a checkpoint; None for any age.
        later: Members that vote from a height on, where the anchor is younger than genesis.
        made_ms: When it was handed out, milliseconds since 1970 UTC; None for who does not care.
        anchor_age_seconds: From what age of its own on it is worth nothing without a fresh checkpoint.
        auditor: Whether every proof needs an auditor's checkpoint.
    """

    genesis: Genesis
    max_age_seconds: int | None = None
    later: tuple[int, ValidatorSet] | None = None
    made_ms: int | None = None
    anchor_age_seconds: int | None = None
    auditor: bool = False

    @property
    def validators(self) -> ValidatorSet:
        """The members it trusts: of genesis, or of later."""
        return self.genesis.validators if self.later is None else self.later[1]

    @property
    def height(self) -> int:
        """First height whose voters it knows."""
        return 1 if self.later is None else self.later[0]

    def encode(self) -> bytes:
        """Return the anchor file, ``xinglin-anchor/v2``."""
        later = None
        if self.later is not None:
            later = {"height": self.later[0], "members": self.later[1].encode().hex()}
        document = {
            "format": FORMAT,
            "chain_id": self.genesis.chain_id.hex(),
            "genesis": self.genesis.encode().hex(),
            "later": later,
            "max_age_seconds": self.max_age_seconds,
            "made_ms": self.made_ms,
            "anchor_age_seconds": self.anchor_age_seconds,
            "auditor": self.auditor,
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    def follow(self, steps: Iterable[Step]) -> ValidatorSet:
        """Return the voter set reached through every change of it, each certified by the set before.

        Steps from before the anchor's time are passed over: whoever makes a proof does not know who will read it.

        Raises:
            ProofError: They do not lead from one set to the next.
            Refused: A certificate is not good.
        """
        validators, height = self.validators, 0
        for step in steps:
            if step.header.height <= height:
                raise ProofError("epochs: the steps do not go forward")
            height = step.header.height
            if height < self.height:
                continue
            self._check_certified(step.header, step.certificate, validators)
            if step.header.next_validators_hash != step.following.hash or step.following.hash == validators.hash:
                raise ProofError("epochs: a step's next validators are not those its header names")
            validators = step.following
        return validators

    def check_head(
        self, head: Header, certificate: bytes, validators: ValidatorSet, now_ms: int | None
    ) -> QuorumCertificate:
        """Return the head's good certificate under the voters reached.

        Raises:
            ProofError: It is not theirs, older than the anchor allows, or below what the anchor trusts.
            Refused: The certificate is not good.
        """
        if head.height < self.height:
            raise ProofError(f"head: height {head.height}, the anchor trusts voters from height {self.height} on")
        found = self._check_certified(head, certificate, validators)
        if self.max_age_seconds is not None:
            age = (self._now(now_ms) - head.timestamp_ms) // 1_000
            if age > self.max_age_seconds:
                raise ProofError(f"head: {age} s old, the anchor allows {self.max_age_seconds}; ask for a newer proof")
        return found

    def _check_certified(self, header: Header, certificate: bytes, validators: ValidatorSet) -> QuorumCertificate:
        genesis = self.genesis
        if header.chain_id != genesis.chain_id:
            raise ProofError("a header of another chain")
        if header.validators_hash != validators.hash or header.epoch != genesis.epoch(header.height):
            raise ProofError("a header names another voter set than the one the proof leads to")
        return check_commit(certificate, header.block_id, header.height, header.epoch, genesis.chain_id, validators)

    def check_checkpoint(self, time_ms: int | None, now_ms: int | None) -> None:
        """Raise ProofError where a checkpoint is demanded and none was signed at a time that will do.

        Args:
            time_ms: When an auditor trusted here signed it; None where there is none.
            now_ms: The verifier's time.
        """
        if time_ms is None:
            if self.auditor:
                raise ProofError("checkpoint: the anchor demands an auditor's, and the file has none")
            if self._is_old(now_ms):
                raise ProofError("checkpoint: the anchor is old; renew it, or ask for a proof with a checkpoint")
            return
        if now_ms is not None and time_ms > now_ms + MAX_AHEAD_MS:
            raise ProofError("checkpoint: signed in the future; look at both clocks")
        limit = min((one for one in (self.max_age_seconds, self.anchor_age_seconds) if one), default=None)
        if limit is not None and (self.auditor or self._is_old(now_ms)):
            age = (self._now(now_ms) - time_ms) // 1_000
            if age > limit:
                raise ProofError(f"checkpoint: {age} s old, the anchor allows {limit}; ask for a newer proof")

    def _is_old(self, now_ms: int | None) -> bool:
        if self.anchor_age_seconds is None or self.made_ms is None:
            return False
        return (self._now(now_ms) - self.made_ms) // 1_000 > self.anchor_age_seconds

    @staticmethod
    def _now(now_ms: int | None) -> int:
        if now_ms is None:
            raise ProofError("head: the anchor limits its age, and no present time was given")
        return now_ms


def load_anchor(data: bytes) -> Anchor:
    """Return the trust anchor in a file.

    Raises:
        ProofError: It is none.
    """
    try:
        return _read(Fields(parse(data, "anchor"), "anchor"))
    except Refused as error:
        raise ProofError(f"anchor: {error}") from error


def _read(fields: Fields) -> Anchor:
    format_ = fields.take("format")
    if format_ not in (FIRST_FORMAT, FORMAT):
        raise ProofError(f"anchor: format is neither {FIRST_FORMAT} nor {FORMAT}")
    chain_id, genesis = fields.hex("chain_id", DIGEST), Genesis.load(fields.hex("genesis"))
    if genesis.chain_id != chain_id:
        raise ProofError("anchor: chain_id is not the id of the genesis in it")
    age = fields.positive_or_null("max_age_seconds")
    if format_ == FIRST_FORMAT:
        fields.end()
        return Anchor(genesis, age)
    later = _later(fields.take("later"), genesis)
    made, own_age = fields.positive_or_null("made_ms"), fields.positive_or_null("anchor_age_seconds")
    auditor = fields.flag("auditor")
    fields.end()
    if own_age is not None and made is None:
        raise ProofError("anchor: anchor_age_seconds says nothing where made_ms is null")
    return Anchor(genesis, age, later, made, own_age, auditor)


def _later(value: object, genesis: Genesis) -> tuple[int, ValidatorSet] | None:
    if value is None:
        return None
    fields = Fields(value, "anchor later").only(("height", "members"))
    height, members = fields.whole("height"), ValidatorSet.decode(fields.hex("members"))
    if height < 2 or genesis.epoch(height) == genesis.epoch(height - 1):
        raise ProofError("anchor: voters change at the first height of an epoch; `later` names another height")
    return height, members
