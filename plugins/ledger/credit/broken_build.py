"""E5: a block that its builder signed and that breaks a rule by itself, shown by the smallest part of it (section 10).

Only rules that need nothing but the block, the voters of its epoch and the epoch's length: what needs the state of
that time cannot be judged later, and such a block costs its builder the turn anyway. The part shown is bound to the
signed header by its digest or by a Merkle path, so nobody can show what the builder did not sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.agreement.certificate import check_commit, qc_digest
from ledger.agreement.proposal import Proposal
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import MAX_CERTIFICATE, Block
from ledger.chain.header import Header
from ledger.chain.merkle import Levels, leaf_hash, verify_inclusion
from ledger.chain.transaction import MAX_TRANSACTION, Transaction
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import Member, key_id
from ledger.credit.statements import Statement, Voters, statements_in
from ledger.encoding import DIGEST, Reader, listed, u8, u32, var
from ledger.errors import Refused

HEADER: Final = 1
CERTIFICATE: Final = 2
TRANSACTION: Final = 3
TWICE: Final = 4
_LONGEST_PATH = 64


def check_broken(header: Header, part: bytes, voters: Voters) -> str:
    """Return which rule the block of this header breaks, in words.

    Args:
        header: Header that its builder signed.
        part: What is shown of the block: its kind and what belongs to it.
        voters: Who could sign what.

    Raises:
        Refused: The part is not of this block, or breaks none.
    """
    reader = Reader(part, "part of a build")
    kind = reader.u8()
    fault: str | None = None
    if kind == HEADER:
        reader.end()
        fault = _header_fault(header, voters)
    elif kind == CERTIFICATE:
        data = reader.var(MAX_CERTIFICATE)
        reader.end()
        if qc_digest(data) != header.prev_commit_digest:
            raise Refused("evidence", "10", "the certificate shown is not the one that the header commits to")
        fault = _certificate_fault(header, data, voters)
    elif kind in (TRANSACTION, TWICE):
        shown = [_shown_transaction(reader, header) for _ in range(1 + (kind == TWICE))]
        reader.end()
        fault = _twice_fault(shown) if kind == TWICE else _transaction_fault(header, shown[0][1], voters)
    if fault is None:
        raise Refused("evidence", "10", "what is shown of the build breaks no rule")
    return fault


def find_broken(proposal: bytes, voters: Voters) -> Iterator[tuple[Statement, Header, bytes]]:
    """Yield the first part of a proposal's block that breaks a rule by itself, with the builder's statement.

    Signatures on the proposal are the caller's. Nothing is yielded for what is no proposal, or for a block that
    another institution built.
    """
    said = next(statements_in(proposal, voters), None)
    if said is None or said.header is None or said.header.builder_id != said.institution:
        return
    block = Block.decode(Proposal.decode(proposal).block)
    for part in _parts(block):
        try:
            check_broken(block.header, part, voters)
        except Refused:
            continue
        yield said, block.header, part
        return


def _parts(block: Block) -> Iterator[bytes]:
    """Yield whatever of a block may be shown."""
    yield u8(HEADER)
    yield u8(CERTIFICATE) + var(block.prev_commit)
    if len(block.transactions) != block.header.tx_count or not block.transactions:
        return
    levels, first = Levels.over(block.transactions), dict[bytes, bytes]()
    for index, data in enumerate(block.transactions):
        part = var(data) + u32(index) + listed(levels.inclusion(index))
        yield u8(TRANSACTION) + part
        try:
            tx_id = open_transaction(data).tx_id
        except Refused:
            continue
        if tx_id in first:
            yield u8(TWICE) + first[tx_id] + part
        first.setdefault(tx_id, part)


def _header_fault(header: Header, voters: Voters) -> str | None:
    if header.epoch != voters.epoch(header.height):
        return "the header names another epoch"
    members = voters.at(header.height)
    if members is None:
        return None
    if header.validators_hash != members.hash:
        return "the header names other voters"
    if members.producer(header.height, header.build_round).id != header.builder_id:
        return "it was another producer's turn"
    return None


def _certificate_fault(header: Header, data: bytes, voters: Voters) -> str | None:
    below = header.height - 1
    if below < 1:
        return "a certificate of genesis" if data else None
    members = voters.at(below)
    if members is None:
        return None
    try:
        check_commit(data, header.prev_block_id, below, voters.epoch(below), voters.chain_id, members)
    except Refused as error:
        return f"the certificate of the block below: {error.rule}"
    return None


def _shown_transaction(reader: Reader, header: Header) -> tuple[int, bytes]:
    """Return the place and the bytes of a transaction that the header's root holds, or raise Refused."""
    data, index, path = reader.var(MAX_TRANSACTION), reader.u32(), reader.listed(_LONGEST_PATH, DIGEST)
    if not verify_inclusion(leaf_hash(data), index, header.tx_count, path, header.tx_root):
        raise Refused("evidence", "10", "the transaction shown is not in the block")
    return index, data


def _twice_fault(shown: Sequence[tuple[int, bytes]]) -> str | None:
    (first, one), (second, other) = shown
    if first == second or open_transaction(one).tx_id != open_transaction(other).tx_id:
        return None
    return "a transaction stands in it twice"


def _transaction_fault(header: Header, data: bytes, voters: Voters) -> str | None:
    try:
        tx = open_transaction(data)
    except Refused:
        return "a transaction is malformed"
    if tx.chain_id != voters.chain_id:
        return "a transaction is of another chain"
    if tx.expiry_height < header.height:
        return "a transaction had lapsed"
    member = voters.member(header.height, _sender(tx))
    # The id is a digest of the key: whatever key is the sender's by now, this one did not sign.
    if member is not None and tx.key_id == key_id(member.public_key) and not _signed_by(member, tx):
        return "a transaction is not signed by its sender"
    return None


def _sender(tx: Transaction | SubmitBatch) -> bytes:
    return tx.submitter if isinstance(tx, SubmitBatch) else tx.sender


def _signed_by(member: Member, tx: Transaction | SubmitBatch) -> bool:
    return member.verify(tx.signature, tx.signed_bytes())
