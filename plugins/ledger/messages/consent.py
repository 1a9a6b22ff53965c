"""CONSENT: what a patient allows and forbids with the records that one institution holds (section 14).

A statement replaces the one before. It holds for the records of the institution that attests it: who keeps a record
answers to the patient for it. What is permitted is every permit's interval minus every denial's; withdrawing says no
to everything until a new statement. The patient stands under a pseudonym that the institution makes with a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import CONSENT
from ledger.chain.transaction import Transaction
from ledger.encoding import DIGEST, PUBLIC_KEY, SIGNATURE, ZERO_DIGEST, Reader, listed, u8, u32, u64, var
from ledger.errors import Refused
from ledger.messages.provisions import FOREVER, Interval, Provision, Question, merged, minus
from shangmi import MalformedInput, PublicKey

MAX_PROVISIONS: Final = 64

Standing = Literal["permit", "deny", "none"]


@dataclass(frozen=True, slots=True)
class ConsentState:
    """What the chain knows of one patient of one institution.

    Attributes:
        sequence: Number of the statement in force.
        height: Block it came in.
        withdrawn: The patient took everything back.
        reference: Digest of the signed form, zeros where the patient's own key signed.
        patient_key: Key the patient signed with, or empty.
        provisions: What is permitted and denied.
    """

    sequence: int
    height: int
    withdrawn: bool
    reference: bytes
    patient_key: bytes
    provisions: tuple[Provision, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            u64(self.sequence) + u64(self.height) + u8(self.withdrawn) + self.reference + var(self.patient_key)
            + listed([one.encode() for one in self.provisions])
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> ConsentState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "consent state")
        sequence, height, withdrawn = reader.u64(), reader.u64(), reader.flag()
        reference, key = reader.take(DIGEST), reader.var(PUBLIC_KEY)
        provisions = _provisions(reader)
        reader.end()
        return cls(sequence, height, withdrawn, reference, key, provisions)

    def permitted(self, question: Question) -> tuple[Interval, ...]:
        """Return from when until when records must be dated to be permitted: permits minus denials, in order."""
        if self.withdrawn:
            return ()
        speaking = [one for one in self.provisions if one.covers(question)]
        return minus(
            merged(one.data for one in speaking if one.permits), [one.data for one in speaking if not one.permits]
        )

    def standing(self, question: Question) -> Standing:
        """Return ``permit`` where records of some date are permitted, ``deny`` where none is, ``none`` for silence.

        A denial of some dates alone is silence about the others: who holds the record looks at its date.
        """
        if self.withdrawn:
            return "deny"
        if self.permitted(question):
            return "permit"
        speaking = [one for one in self.provisions if one.covers(question)]
        denied = [one.data for one in speaking if not one.permits]
        silent = minus([(0, FOREVER)], denied) and not any(one.permits for one in speaking)
        return "none" if silent else "deny"


def standing(ledger: Ledger, holder: bytes, patient: bytes, question: Question) -> Standing:
    """Return what a patient's statement at an institution says; silence where there is none."""
    found = ledger.get(CONSENT, holder + patient)
    return "none" if found is None else ConsentState.decode(found).standing(question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent(Transaction):
    """The signed message.

    Attributes:
        patient: The patient's pseudonym at the sender, 32 bytes.
        sequence: Above that of every earlier statement.
        withdraw: Take everything back; then there are no provisions.
        provisions: What is permitted and denied from now on; they replace the earlier ones.
        reference: Digest of the form that the patient signed, made with a secret salt; or zeros.
        patient_key: The patient's own SM2 key, x||y; or empty. One of both attests.
        patient_signature: By that key over ``statement``; or empty.
    """

    TYPE: ClassVar[int] = 7
    NAME: ClassVar[str] = "CONSENT"

    patient: bytes
    sequence: int
    withdraw: bool = False
    provisions: tuple[Provision, ...] = ()
    reference: bytes = ZERO_DIGEST
    patient_key: bytes = b""
    patient_signature: bytes = b""

    def statement(self) -> bytes:
        """Return what a patient's own key signs: the will, for this chain and this institution."""
        return b"XL/CONSENT/1\0" + self.chain_id + self.sender + self._will()

    def _will(self) -> bytes:
        provisions = listed([one.encode() for one in self.provisions])
        return self.patient + u64(self.sequence) + u8(self.withdraw) + provisions

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return self._will() + self.reference + var(self.patient_key) + var(self.patient_signature)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        found: dict[str, Any] = {"patient": reader.take(DIGEST), "sequence": reader.u64()}
        found |= {"withdraw": reader.flag(), "provisions": _provisions(reader), "reference": reader.take(DIGEST)}
        found |= {"patient_key": reader.var(PUBLIC_KEY), "patient_signature": reader.var(SIGNATURE)}
        return found

    def execute(self, ledger: Ledger) -> Outcome:
        """The statement is the one in force, from here on in this very block.

        Raises:
            Refused: It is not newer, is empty, withdraws nothing, or nobody attests it.
        """
        if self.withdraw == bool(self.provisions):
            raise Refused("consent", "14", "a statement has provisions, and a withdrawal has none")
        stored = ledger.get(CONSENT, self.sender + self.patient)
        before = None if stored is None else ConsentState.decode(stored)
        if self.sequence <= (before.sequence if before else 0):
            raise Refused("consent sequence", "14", f"a later statement than number {self.sequence} is in force")
        if self.withdraw and (before is None or before.withdrawn):
            raise Refused("consent", "14", "there is no statement to withdraw")
        self._check_attestation(before)
        state = ConsentState(
            self.sequence, ledger.height, self.withdraw, self.reference, self.patient_key, self.provisions
        )
        ledger.put(CONSENT, self.sender + self.patient, state.encode())
        return Outcome(detail=u32(len(self.provisions)))

    def _check_attestation(self, before: ConsentState | None) -> None:
        if not self.patient_key:
            if self.reference == ZERO_DIGEST or self.patient_signature:
                raise Refused("consent attestation", "14", "expected the digest of a signed form, or a patient's key")
            return
        if self.reference != ZERO_DIGEST:
            raise Refused("consent attestation", "14", "a form and a patient's key came; expected one of them")
        if before and before.patient_key not in (b"", self.patient_key):
            raise Refused("consent attestation", "14", "another key of the patient is known; changing it needs a form")
        try:
            good = PublicKey.from_bytes(self.patient_key).verify(self.patient_signature, self.statement())
        except MalformedInput:
            good = False
        if not good:
            raise Refused("consent attestation", "14", "the patient's key did not sign this statement")


def _provisions(reader: Reader) -> tuple[Provision, ...]:
    return tuple(Provision.read(one) for one in reader.listed(MAX_PROVISIONS, 2_048))
