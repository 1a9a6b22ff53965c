"""What an institution signs and opens beside the votes: its transactions, batches, checkpoints, manifests, catalogues.

Who asks may be a worker that was taken over: whether the institution may publish, audits, or is asked by an allowed
request is looked up in its own replica, never in what came with the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ledger.agreement.judgement import Judgement
from ledger.agreement.pen import Pen
from ledger.chain.batch import SubmitBatch
from ledger.chain.genesis import DEFAULT_POLICY
from ledger.chain.leaves import leaves_of
from ledger.chain.replica import Replica
from ledger.chain.state import INSTITUTION, REQUEST, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id, key_id
from ledger.encoding import DIGEST
from ledger.errors import Refused
from ledger.messages.catalogue_word import catalogue_message
from ledger.messages.manifest_word import manifest_message
from ledger.messages.request_state import ALLOWED, RequestState
from ledger.proofs.checkpoint import Checkpoint, Note, cosign
from schemas.records import Entry
from shangmi import PublicKey


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed batch: the transaction, its leaves, and the id under which receipts name it."""

    tx: bytes
    leaves: bytes
    tx_id: bytes


class Signatory:
    """An institution's hand for everything that is no vote.

    Args:
        institution: Whose it is, by its id in the region's file.
        pen: Its key.
        replica: Its copy of the chain.
        judgement: Says whether the replica may still be believed.
        clock: Milliseconds since 1970 UTC, for the time of checkpoints.
    """

    def __init__(
        self, institution: str, pen: Pen, replica: Replica, judgement: Judgement, clock: Callable[[], int]
    ) -> None:
        self._institution, self._id = institution, institution_id(institution)
        self._pen, self._replica, self._judgement, self._clock = pen, replica, judgement, clock

    @property
    def public(self) -> PublicKey:
        """The public half of the institution's key."""
        return self._pen.public

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key; Refused where nothing was."""
        return self._pen.decrypt(ciphertext)

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        value = self._replica.view.state(INSTITUTION, self._id)
        return 1 if value is None else InstitutionState.decode(value).last_seq + 1

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""
        return self._pen.heading(self._replica.view)

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution, ready to be offered to producers.

        Args:
            draft: It without a signature; ``heading`` gives its common fields.

        Raises:
            Refused: It is of another chain, or another institution's.
            Halted: The key here is not the one the chain names.
        """
        return self._pen.sign(self._replica.view, draft)

    def submit(self, entries: Sequence[Entry], seq: int, locator: str) -> Submission:
        """Return a signed batch of sealed records.

        Args:
            entries: What the vault sealed, at least one.
            seq: Number of the batch, from ``next_seq`` on.
            locator: Where the envelopes lie, for people; each entry carries its own locator too.

        Raises:
            Refused: The institution may not publish, or the batch is empty or too large.
        """
        view = self._replica.view
        rules = view.parameters
        limit = rules.batch_entries
        if not 0 < len(entries) <= limit:
            raise Refused("batch size", "4", f"{len(entries)} records; a batch has 1 to {limit}")
        registration = view.roster.registration(self._id)
        if registration is None or registration.class_ in ("R", "P"):
            raise Refused("upload", "14", "regulators and participants publish no records")
        key, leaves = self._pen.key(view), leaves_of(entries)
        tx = SubmitBatch(
            chain_id=view.genesis.chain_id,
            submitter=self._id,
            key_id=key_id(key.public.bytes),
            seq=seq,
            batch_root=leaves.root,
            count=len(leaves),
            policy_id=DEFAULT_POLICY,
            expiry_height=view.head.height + rules.expiry_blocks,
            locator=locator,
        )
        signed = replace(tx, signature=key.sign(tx.signed_bytes()))
        return Submission(signed.encode(), leaves.encode(), tx.tx_id)

    def cosign(self, height: int) -> bytes:
        """Return this auditor's signed checkpoint of one of its own final blocks (section 12).

        Raises:
            Refused: The institution is no auditor, or has no such block.
            Halted: There is no key here, or this replica is halted.
        """
        view = self._judgement.view()
        member = view.validators.member(self._id)
        if member is None or member.role != "auditor":
            raise Refused("checkpoint", "12", f"{self._institution} is no auditor; only auditors sign checkpoints")
        if not 0 < height <= view.head.height:
            raise Refused("checkpoint", "12", f"no block {height} here above genesis; the head is {view.head.height}")
        key, checkpoint = self._pen.key(view), Checkpoint.of(self._replica.header(height))
        signed = cosign(checkpoint, self._institution, key.public.bytes, key, self._clock())
        return Note(checkpoint, (signed,)).encode()

    def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
        """Return this holder's signature on the manifest of a dataset (section 14).

        Args:
            request: Id of the ACCESS_REQ that the dataset answers.
            digest: SM3 of the manifest.

        Raises:
            Refused: The request does not stand allowed in this node's own replica, or asks others.
            Halted: There is no key here, or this replica is halted.
        """
        view = self._judgement.view()
        stored = view.state(REQUEST, request)
        found = None if stored is None or len(request) != DIGEST else RequestState.decode(stored)
        if found is None or found.stage != ALLOWED or self._id not in found.holders:
            raise Refused("manifest", "14", f"no request of that id stands allowed that asks {self._institution}")
        if len(digest) != DIGEST:
            raise Refused("manifest", "14", f"a digest of {len(digest)} bytes, expected {DIGEST}")
        return self._pen.key(view).sign(manifest_message(view.genesis.chain_id, self._id, request, digest))

    def sign_catalogue(self, digest: bytes) -> bytes:
        """Return this institution's signature on its catalogue of what may be asked for, by the catalogue's SM3 digest.

        Raises:
            Refused: It is no digest.
            Halted: There is no key here, or this replica is halted.
        """
        if len(digest) != DIGEST:
            raise Refused("catalogue", "14", f"a digest of {len(digest)} bytes, expected {DIGEST}")
        view = self._judgement.view()
        return self._pen.key(view).sign(catalogue_message(view.genesis.chain_id, self._id, digest))
