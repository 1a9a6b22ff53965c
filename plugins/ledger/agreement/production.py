"""What a producer puts into its proposal: which batches, which certificate, which block again (section 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ledger.agreement.certificate import PREPARE, Ballot, QuorumCertificate, check_lock
from ledger.agreement.proposal import Proposal, check_carried, check_tc
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.execution import Execution
from ledger.chain.leaves import Leaves
from ledger.chain.transactions import open_transaction
from ledger.chain.view import ChainView
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Behind, Refused

#: Told of each transaction that is left out, and why.
SkipListener = Callable[[bytes, Refused], None]


def collect(
    execution: Execution,
    submissions: Iterable[tuple[bytes, bytes]],
    evidence: Iterable[bytes] = (),
    on_skip: SkipListener | None = None,
) -> None:
    """Everything that may enter the block is in it: evidence first, other messages as offered, batches by number.

    Each institution's batches come in order of their numbers, whatever order they are offered in; what breaks a rule
    is left out and named, and the others go on.
    """
    skip = on_skip or (lambda _tx, _error: None)
    for proof in dict.fromkeys(evidence):
        try:
            execution.add_evidence(proof)
        except Refused as error:
            skip(proof, error)
    offered = list(dict.fromkeys(submissions))
    execution.prefetch([tx for tx, _ in offered])
    for tx, leaves in sorted(offered, key=lambda one: _order(one[0])):
        try:
            execution.add(tx, leaves)
        except Refused as error:
            skip(tx, error)


def _order(tx: bytes) -> tuple[bytes, int]:
    """Return where a transaction stands among others; what has no order of its own stays as offered, in front."""
    try:
        opened = open_transaction(tx)
    except Refused:
        return b"", 0  # it is refused, and named, when it is taken in
    return (opened.submitter, opened.seq) if isinstance(opened, SubmitBatch) else (b"", 0)


def propose_again(
    view: ChainView, round_: int, producer: bytes, tc: bytes, known: Sequence[bytes], carried: Iterable[bytes]
) -> Proposal | None:
    """Return the certified block of an earlier round as the proposal of this one, unsigned; None where there is none.

    Args:
        view: The chain below the height.
        round_: Round to propose in.
        producer: Whose turn it is.
        tc: The timeout certificate of the round before.
        known: PrepareQCs known besides those that ``tc`` reports; empty ones are passed over.
        carried: Earlier proposals of the height.

    Raises:
        Refused: A certificate is not good, or the certified block is not among ``carried``.
    """
    justify = _highest_certificate(view, view.head.height + 1, round_, tc, known)
    if justify is None:
        return None
    again = _find_block(carried, justify.ballot.block_id)
    return Proposal(round_, producer, again.block, justify.encode(), tc, again.bodies)


def _highest_certificate(
    view: ChainView, height: int, round_: int, tc: bytes, others: Sequence[bytes]
) -> QuorumCertificate | None:
    """Return the highest PrepareQC a producer of this round knows of, everything verified.

    Args:
        view: The chain below the height.
        height: Height to propose at.
        round_: Round to propose in; round 0 leans on nothing.
        tc: The timeout certificate of the round before.
        others: PrepareQCs known besides those that ``tc`` reports; empty ones are passed over.

    Raises:
        Refused: A certificate is not good.
    """
    if round_ == 0:
        return None
    chain, validators, epoch = view.genesis.chain_id, view.validators, view.genesis.epoch(height)
    before = Ballot(PREPARE, height, round_ - 1, epoch, ZERO_DIGEST)
    known = [check_tc(tc, height, round_ - 1, epoch, chain, validators)]
    known += [check_lock(data, before, chain, validators) for data in others if data]
    return max((one for one in known if one), key=lambda one: one.ballot.round, default=None)


def _find_block(proposals: Iterable[bytes], block_id: bytes) -> Proposal:
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
        return _find_block(carried, block.header.block_id).bodies
    except Refused:
        raise Behind("the batches of the stored proposal are not among the submissions; try again with them") from None


def _belong(leaves: bytes, tx: bytes) -> bool:
    """Return whether these are the leaves that a transaction signs; any but a batch signs none."""
    try:
        opened = open_transaction(tx)
        return Leaves.decode(leaves).root == opened.batch_root if isinstance(opened, SubmitBatch) else not leaves
    except Refused:
        return False
