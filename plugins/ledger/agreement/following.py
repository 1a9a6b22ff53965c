"""Final blocks made a replica's own, one by one or from whoever has them (section 13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.agreement.certificate import QuorumCertificate, check_commit
from ledger.agreement.judgement import Judgement
from ledger.agreement.proposal import check_carried
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock, Replica, ReplicaView
from ledger.chain.transactions import open_transaction
from ledger.errors import Behind, Refused


class FinalSource(Protocol):
    """Whoever can hand over final blocks: an exchange, another institution's replica, a file."""

    def finals(self, height: int) -> Iterable[FinalBlock]:
        """Return what it has as the final block of a height; who asks takes the first good one."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a node holds as final.

    Attributes:
        height: Height of the block.
        block_id: Its id, hex.
        entries: Records in it.
        transactions: Ids of its transactions, hex.
        signers: Institutions whose signatures are in the certificate given.
        repeated: The node had it already.
    """

    height: int
    block_id: str
    entries: int
    transactions: tuple[str, ...]
    signers: tuple[str, ...]
    repeated: bool


class Follower:
    """Takes final blocks over into a replica.

    Args:
        replica: The institution's.
        judgement: Executes them.
    """

    def __init__(self, replica: Replica, judgement: Judgement) -> None:
        self._replica, self._judgement = replica, judgement

    def apply(self, block: bytes, commit_qc: bytes, leaves: Sequence[bytes]) -> Receipt:
        """Make a certified block this replica's head after executing it again.

        Args:
            block: The block's bytes.
            commit_qc: A CommitQC on it.
            leaves: Leaves of each batch.

        Raises:
            Refused: The certificate is not good, or the bytes are not those it certifies.
            Behind: Blocks below it are missing here; sync first.
            Diverged: A good certificate on what this replica cannot agree with. Both are kept, the node stops.
        """
        view = self._judgement.view()
        opened, genesis = Block.decode(block), self._replica.genesis
        header, final = opened.header, FinalBlock(block, commit_qc, tuple(leaves))
        if header.height == 0 or header.chain_id != genesis.chain_id:
            raise Refused("chain id", "3", "the block is of another chain, or is a genesis")
        if header.height > view.head.height + 1:
            raise Behind(f"block {header.height} came, the head is {view.head.height}; sync, then try again")
        voters = view.voters_at(header.height)
        epoch = genesis.epoch(header.height)
        found = check_commit(commit_qc, header.block_id, header.height, epoch, genesis.chain_id, voters)
        check_carried(opened)
        repeated = header.height <= view.head.height
        if repeated and self._replica.header(header.height) != header:
            raise self._judgement.diverged(final, "two certified blocks of one height")
        # Read before the head moves: what a block replaces of the state below it is removed with it.
        receipt = _receipt(view, opened, found, repeated)
        if not repeated:
            self._judgement.apply(view, opened, final)
        return receipt

    def sync(self, sources: Sequence[FinalSource]) -> int:
        """Catch up from the first source that has each next block, and return how many blocks were applied.

        What does not verify, or is not the next block, is passed over.

        Raises:
            Diverged: A good certificate contradicts this replica.
            Refused: Sources have the next block, and none of them a good one.
            Behind: What sources show as the next block stands on others.
        """
        applied = 0
        while True:
            at, refused = self._replica.view.head.height, list[Refused | Behind]()
            for final in (one for source in sources for one in source.finals(at + 1)):
                try:
                    self.apply(final.block, final.commit_qc, final.bodies)
                except (Refused, Behind) as error:
                    refused.append(error)
                if self._replica.view.head.height > at:
                    applied += 1
                    break
            else:
                if refused:
                    raise refused[0]
                return applied


def _receipt(view: ReplicaView, block: Block, certificate: QuorumCertificate, repeated: bool) -> Receipt:
    transactions = [open_transaction(one) for one in block.transactions]
    voters = view.voters_at(block.header.height).voters
    return Receipt(
        block.header.height,
        block.header.block_id.hex(),
        sum(one.count for one in transactions if isinstance(one, SubmitBatch)),
        tuple(one.tx_id.hex() for one in transactions),
        tuple(view.name(voters[one].id) for one in certificate.signers),
        repeated,
    )
