"""What signs for an institution: its key, and the record of what that key has signed (section 8)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from ledger.agreement.certificate import NO_ROUND, TIMEOUT, Ballot, QuorumCertificate, Vote, qc_digest
from ledger.agreement.own_signatures import KeyHolder, unknown_signature
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import PROPOSE, Signer, Slot, VoteStore
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id, key_id
from ledger.chain.view import ChainView
from ledger.encoding import SHORT_ID, ZERO_DIGEST, Reader
from ledger.errors import Behind, Halted, Refused
from shangmi import PublicKey, ShangmiError


class Pen:
    """An institution's key and vote store; every signature that leaves a node is made here.

    Args:
        chain_id: The chain it signs for.
        institution: Whose it is.
        key: Its key; None where the node only observes.
        votes: What the key has signed; None where it does not vote.

    Raises:
        Halted: Key and vote store do not belong together.
    """

    def __init__(self, chain_id: bytes, institution: str, key: Signer | None, votes: VoteStore | None) -> None:
        self._chain_id, self._institution, self._id = chain_id, institution, institution_id(institution)
        self._key, self._votes = key, votes
        if key is not None and votes is not None:
            votes.check_owner(key.public)

    def close(self) -> None:
        """Let go of the record; nothing is signed any more."""
        if self._votes is not None:
            self._votes.close()

    def key(self, view: ChainView) -> Signer:
        """Return the key, where it is the one the chain names now: another's signature would be refused by all.

        Raises:
            Halted: There is none here, or another.
        """
        own = self._own()
        registration = view.roster.registration(self._id)
        if registration is None:
            raise Halted(f"the chain knows no institution {self._institution!r} up to height {view.head.height}")
        if registration.public_key != own.public.bytes:
            raise Halted(
                f"the key given is not the one the chain names for {self._institution} at height {view.head.height}; "
                "catch up first, and if that does not help give the node the key that governance registered"
            )
        return own

    @property
    def votes(self) -> VoteStore:
        """What the key has signed.

        Raises:
            Halted: There is no record here.
        """
        if self._votes is None:
            raise Halted(f"the node of {self._institution} has no vote store; it does not vote")
        return self._votes

    @property
    def halted(self) -> str | None:
        """Why the key votes no more until a person has looked, or None."""
        return None if self._votes is None else self._votes.halted()

    def observe(self, view: ChainView, shown: Iterable[bytes]) -> None:
        """The key votes no more where votes, certificates or proposals show a signature that its record does not know.

        Such a key was used elsewhere, or its vote store is an old one; ``xinglin node recover`` is the way back.
        """
        if self._key is None or self._votes is None:
            return
        holder = KeyHolder(self._chain_id, self._id, self._key.public, cache(view.validators_of))
        if (found := unknown_signature(shown, holder, self._votes)) is not None:
            slot = found.slot
            self._votes.halt(
                f"this key has signed something in height {slot.height}, round {slot.round}, step {slot.step}, that "
                "its vote store does not know: the store is an old copy, or the key is used elsewhere"
            )

    def heading(self, view: ChainView) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""
        return {
            "chain_id": self._chain_id,
            "sender": self._id,
            "key_id": key_id(self.key(view).public.bytes),
            "nonce": secrets.token_bytes(SHORT_ID),
            "expiry_height": view.head.height + view.parameters.expiry_blocks,
        }

    def sign(self, view: ChainView, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution.

        Raises:
            Refused: It is of another chain, or another institution's.
        """
        key = self.key(view)
        if (draft.chain_id, draft.sender, draft.key_id) != (self._chain_id, self._id, key_id(key.public.bytes)):
            raise Refused("sender", "4", "an institution signs nothing but its own transactions")
        return replace(draft, signature=key.sign(draft.signed_bytes())).encode()

    @property
    def public(self) -> PublicKey:
        """The public half of the key here; Halted where there is none."""
        return self._own().public

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key.

        Raises:
            Refused: It was encrypted to another, or changed.
        """
        try:
            return self._own().decrypt(ciphertext)
        except ShangmiError as error:
            raise Refused("ciphertext", "5", f"not encrypted to the key of {self._institution}: {error}") from None

    def _own(self) -> Signer:
        if self._key is None:
            raise Halted(f"the node of {self._institution} has no key; it only observes")
        return self._key

    def stored_proposal(self, height: int, round_: int) -> bool:
        """Say whether the key has signed a proposal of this round."""
        return self.votes.find(self._chain_id, Slot(height, round_, PROPOSE)) is not None

    def propose(self, view: ChainView, round_: int, drafted: Proposal | None) -> Proposal:
        """Return the signed proposal of a round without its leaves: this draft, or whatever was signed before it.

        Args:
            view: The chain below the height.
            round_: The round.
            drafted: What to sign; None only where something is signed already.
        """

        def draft(_: bytes) -> tuple[bytes, bytes]:
            if drafted is None:
                raise RuntimeError("a stored proposal vanished between two reads of the vote store")
            return drafted.signed_bytes(), replace(drafted, bodies=()).encode()

        signed = self.votes.sign(
            self._chain_id, Slot(view.head.height + 1, round_, PROPOSE), self.key(view), draft
        )  # fmt: skip
        return replace(Proposal.decode(signed.payload), signature=signed.signature)

    def _must_vote(self, view: ChainView) -> None:
        member = view.validators.member(self._id)
        if member is None or not member.weight:
            raise Refused("voter", "6", f"{self._institution} has no vote")

    def lock(self, height: int) -> bytes:
        """Return the PrepareQC this key is locked on at a height, or nothing."""
        return self.votes.lock(self._chain_id, height)

    def has_signed(self, ballot: Ballot) -> bool:
        """Say whether this very vote was signed before."""
        found = self.votes.find(self._chain_id, Slot(ballot.height, ballot.round, ballot.type))
        return found is not None and found.message == ballot.signed_bytes(self._chain_id)

    def vote(
        self, view: ChainView, ballot: Ballot, *, guard: Callable[[bytes], None] = lambda _: None, lock: bytes = b""
    ) -> bytes:
        """Return the signed vote.

        Args:
            view: The chain below the height voted on.
            ballot: What it says.
            guard: Sees the present lock in the same atomic step, and may raise Refused.
            lock: PrepareQC to be locked on from now on.
        """
        self._must_vote(view)
        message = ballot.signed_bytes(self._chain_id)

        def draft(present: bytes) -> tuple[bytes, bytes]:
            guard(present)
            return message, b""

        slot = Slot(ballot.height, ballot.round, ballot.type)
        signed = self.votes.sign(self._chain_id, slot, self.key(view), draft, expected=message, lock=lock)
        return Vote(ballot, self._id, signed.signature).encode()

    def voted_in(self, height: int, round_: int) -> bool:
        """Say whether the key has signed anything in this round or a later one."""
        last = self.votes.last(self._chain_id)
        return last is not None and (last.height, last.round) >= (height, round_)

    def time_out(self, view: ChainView, height: int, round_: int, early: Behind | None = None) -> bytes:
        """Return the TIMEOUT of a round with the lock that this key holds, made now or before.

        Args:
            view: The chain below the height.
            height: The open height.
            round_: The round.
            early: Why none may be made now; raised where none was made before.
        """
        self._must_vote(view)
        epoch = view.genesis.epoch(height)

        def draft(lock: bytes) -> tuple[bytes, bytes]:
            if early is not None:
                raise early
            number = QuorumCertificate.decode(lock).ballot.round if lock else NO_ROUND
            ballot = Ballot(TIMEOUT, height, round_, epoch, ZERO_DIGEST, number, qc_digest(lock))
            return ballot.signed_bytes(self._chain_id), lock

        signed = self.votes.sign(self._chain_id, Slot(height, round_, TIMEOUT), self.key(view), draft)
        ballot = Ballot.read(Reader(signed.message[-Ballot.BYTES :], "own TIMEOUT"))
        return Vote(ballot, self._id, signed.signature, signed.payload).encode()
