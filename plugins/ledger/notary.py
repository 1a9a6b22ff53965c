"""What carriers and hooks ask of an institution's node, wherever it runs (section 0).

``ledger.node.Node`` is one, in this process; ``ledger.remote.client.RemoteNode`` is one behind a unix socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ledger.errors import Behind, Refused

if TYPE_CHECKING:
    from ledger.agreement.following import FinalSource, Receipt
    from ledger.agreement.production import SkipListener
    from ledger.chain.fate import Fate
    from ledger.chain.transaction import Transaction
    from ledger.signatory import Submission
    from schemas.records import Entry
    from shangmi import PublicKey


class Notary(Protocol):
    """An institution's node: bytes in, signed bytes or a refusal out. ``ledger.node.Node`` says what each does."""

    @property
    def institution(self) -> str:
        """Whose node it is."""
        ...

    def close(self) -> None:
        """Let go of what it holds open."""
        ...

    @property
    def height(self) -> int:
        """Height of the last final block; 0 is genesis."""
        ...

    @property
    def is_voter(self) -> bool:
        """Whether the institution has a vote."""
        ...

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        ...

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name."""
        ...

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution."""
        ...

    def submit(self, entries: Sequence[Entry], seq: int, locator: str) -> Submission:
        """Return a signed batch of sealed records."""
        ...

    @property
    def public(self) -> PublicKey:
        """The public half of the node's key."""
        ...

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key; Refused where nothing was."""
        ...

    def cosign(self, height: int) -> bytes:
        """Return this auditor's signed checkpoint of one of its own final blocks."""
        ...

    def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
        """Return the holder's signature on the manifest of a dataset that answers an allowed request."""
        ...

    def sign_catalogue(self, digest: bytes) -> bytes:
        """Return this institution's signature on its catalogue of what may be asked for."""
        ...

    def fate(self, tx: bytes) -> Fate:
        """Return what became of a transaction, by this node's own replica."""
        ...

    def observe(self, shown: Iterable[bytes]) -> None:
        """Look for signatures of the node's own key that it does not know of; it votes no more where it finds one."""
        ...

    def producer(self, round: int = 0) -> str:
        """Return whose turn it is to propose the next block in a round."""
        ...

    def is_producer(self, height: int, round: int) -> bool:
        """Say whether it is this institution's turn to propose."""
        ...

    def propose(
        self,
        submissions: Iterable[tuple[bytes, bytes]],
        round: int = 0,
        tc: bytes | None = None,
        *,
        prepare_qc: bytes | None = None,
        carried: Iterable[bytes] = (),
        evidence: Iterable[bytes] = (),
        on_skip: SkipListener | None = None,
    ) -> bytes | None:
        """Return this producer's proposal for the next height, or None where there is nothing to do."""
        ...

    def prepare(self, proposal: bytes) -> bytes:
        """Return this voter's PREPARE."""
        ...

    def commit(self, prepare_qc: bytes, proposal: bytes) -> bytes:
        """Return this voter's COMMIT."""
        ...

    def open_round(self, height: int, round: int, cause: bytes) -> None:
        """The node knows a round to be open: by a transaction that waits, or the certificate of the round before."""
        ...

    def timeout(self, height: int, round: int, tc: bytes | None = None, shown: Iterable[bytes] = ()) -> bytes:
        """Return this voter's TIMEOUT, once the round's time is over by the node's own clock."""
        ...

    def good_certificate(self, candidates: Iterable[bytes], height: int, round: int, type_: int) -> bytes | None:
        """Return the first of these that is a good certificate of a height and round, or None."""
        ...

    def assemble_prepare(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a PrepareQC from these votes, or None."""
        ...

    def assemble_commit(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a CommitQC from these votes, or None."""
        ...

    def assemble_tc(self, votes: Iterable[bytes], height: int, round: int) -> bytes | None:
        """Return a timeout certificate from these votes, or None."""
        ...

    def apply(self, block: bytes, commit_qc: bytes, leaves: Sequence[bytes]) -> Receipt:
        """Make a certified block the replica's head."""
        ...

    def sync(self, *sources: FinalSource) -> int:
        """Catch up from the first source that has each next block; return how many blocks were applied."""
        ...


def sync_from(node: Notary, sources: Sequence[FinalSource]) -> int:
    """Apply to a node every final block that sources show, and return how many; ``Node.sync`` from outside the node.

    Raises:
        Diverged: A good certificate contradicts the replica.
        Refused: Sources have the next block, and none of them a good one.
        Behind: What sources show as the next block stands on others.
    """
    applied = 0
    while True:
        at, refused = node.height, list[Refused | Behind]()
        for final in (one for source in sources for one in source.finals(at + 1)):
            try:
                node.apply(final.block, final.commit_qc, final.bodies)
            except (Refused, Behind) as error:
                refused.append(error)
                continue
            applied += 1
            break
        else:
            if refused:
                raise refused[0]
            return applied
