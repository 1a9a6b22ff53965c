"""What a producer puts into its proposal: which batches, which certificate, which block again (section 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ledger.batch import SubmitBatch
from ledger.block import Block
from ledger.certificate import PREPARE, Ballot, QuorumCertificate, check_lock
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Behind, Refused
from ledger.execution import ChainView, Execution
from ledger.genesis import Genesis
from ledger.leaves import Leaves
from ledger.proposal import Proposal, check_carried, check_tc

#: Told of each transaction that is left out, and why.
SkipListener = Callable[[bytes, Refused], None]


def collect(
    genesis: Genesis,
    view: ChainView,
    submissions: Iterable[tuple[bytes, bytes]],
    on_skip: SkipListener | None = None,
) -> Execution:
    """Return the execution of every submission that may enter the block after ``view``.

    Each institution's batches come in order of their numbers, whatever order they are offered in; a batch that
    breaks a rule is left out and named, and the others go on.
    """
    skip = on_skip or (lambda _tx, _error: None)
    execution = Execution(genesis, view)
    readable = []
    for tx, leaves in submissions:
        try:
            opened = SubmitBatch.decode(tx)
        except Refused as error:
            skip(tx, error)
            continue
        readable.append((opened.submitter, opened.seq, tx, leaves))
    for _, _, tx, leaves in sorted(readable):
        try:
            execution.add(tx, leaves)
        except Refused as error:
            skip(tx, error)
    return execution


def highest_certificate(
    genesis: Genesis, height: int, round_: int, tc: bytes, others: Sequence[bytes]
) -> QuorumCertificate | None:
    """Return the highest PrepareQC a producer of this round knows of, everything verified.

    Args:
        genesis: The chain.
        height: Height to propose at.
        round_: Round to propose in; round 0 leans on nothing.
        tc: The timeout certificate of the round before.
        others: PrepareQCs known besides those that ``tc`` reports; empty ones are passed over.

    Raises:
        Refused: A certificate is not good.
    """
    if round_ == 0:
        return None
    chain, validators, epoch = genesis.chain_id, genesis.validators, genesis.epoch(height)
    before = Ballot(PREPARE, height, round_ - 1, epoch, ZERO_DIGEST)
    known = [check_tc(tc, height, round_ - 1, epoch, chain, validators)]
    known += [check_lock(data, before, chain, validators) for data in others if data]
    return max((one for one in known if one), key=lambda one: one.ballot.round, default=None)


def find_block(proposals: Iterable[bytes], block_id: bytes) -> Proposal:
    """Return the first proposal that has all of a block: its header, and the transactions and leaves it commits to.

    Raises:
        Refused: None of them has it.
    """
    for data in proposals:
        try:
            found = Proposal.decode(data)
            block = Block.decode(found.block)
            if block.header.block_id == block_id:
                check_carried(block)
                if len(found.bodies) == len(block.transactions) and all(
                    _belong(body, tx) for body, tx in zip(found.bodies, block.transactions, strict=True)
                ):
                    return found
        except Refused:
            continue
    raise Refused("justification", "6", "the certified block must be proposed again, and no proposal given has it")


def stored_bodies(
    proposal: Proposal, submissions: Iterable[tuple[bytes, bytes]], carried: Iterable[bytes]
) -> tuple[bytes, ...]:
    """Return the leaves of a proposal that was stored without them, found again by its transactions.

    Raises:
        Behind: They are neither among the submissions nor in an earlier proposal of the block.
    """
    block = Block.decode(proposal.block)
    # A transaction may be offered with the leaves of another, too.
    wanted = set(block.transactions)
    offered = {tx: leaves for tx, leaves in submissions if tx in wanted and _belong(leaves, tx)}
    if wanted == offered.keys():
        return tuple(offered[tx] for tx in block.transactions)
    try:
        return find_block(carried, block.header.block_id).bodies
    except Refused:
        raise Behind("the batches of the stored proposal are not among the submissions; try again with them") from None


def _belong(leaves: bytes, tx: bytes) -> bool:
    """Return whether these are the leaves that a transaction signs."""
    try:
        return Leaves.decode(leaves).root == SubmitBatch.decode(tx).batch_root
    except Refused:
        return False
