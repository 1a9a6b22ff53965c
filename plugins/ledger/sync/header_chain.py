"""A chain of certified headers followed forward, voter set by voter set, without one block's content (section 13).

Whoever has headers and certificates knows what is final, and can hold anybody to it who shows or withholds content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.agreement.certificate import MAX_QC, check_commit
from ledger.chain.genesis import Genesis
from ledger.chain.header import HEADER_BYTES, Header, history_leaf
from ledger.chain.merkle import Frontier
from ledger.chain.validators import ValidatorSet
from ledger.encoding import Reader, listed, var
from ledger.errors import Refused

MAX_HEADERS = 256
_ONE = b"XL/CERT/1\0"
_MANY = b"XL/CERTS/1\0"
MAX_CERTIFIED = len(_ONE) + HEADER_BYTES + 4 + MAX_QC

#: Returns the members of an epoch, from wherever: they are held to the hash that the header before names.
SetSource = Callable[[int], ValidatorSet]


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header and a CommitQC on it; decoding verifies nothing."""

    header: Header
    commit_qc: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _ONE + self.header.encode() + var(self.commit_qc)

    @classmethod
    def decode(cls, data: bytes) -> CertifiedHeader:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "certified header")
        reader.constant(_ONE)
        found = cls(Header.decode(reader.take(HEADER_BYTES)), reader.var(MAX_QC))
        reader.end()
        return found


def encode_headers(headers: Sequence[CertifiedHeader]) -> bytes:
    """Return the canonical bytes of at most ``MAX_HEADERS`` certified headers."""
    return _MANY + listed([one.encode() for one in headers])


def decode_headers(data: bytes) -> list[CertifiedHeader]:
    """Read what ``encode_headers`` wrote, or raise Malformed."""
    reader = Reader(data, "certified headers")
    reader.constant(_MANY)
    found = [CertifiedHeader.decode(one) for one in reader.listed(MAX_HEADERS, MAX_CERTIFIED)]
    reader.end()
    return found


class HeaderChain:
    """The end of a verified chain of headers; ``extend`` moves it one block on, or refuses and leaves it.

    Args:
        genesis: The chain.
        head: Its last header so far.
        frontier: The history tree up to and including that header.
        validators: Who votes on the next height.
    """

    def __init__(self, genesis: Genesis, head: Header, frontier: Frontier, validators: ValidatorSet) -> None:
        self.genesis = genesis
        self.head = head
        self.frontier = frontier
        self.validators = validators

    def extend(self, one: CertifiedHeader, members_of: SetSource) -> None:
        """Take in the next header.

        Args:
            one: It, with its certificate.
            members_of: Asked only where the voter set changes after it.

        Raises:
            Refused: It is not the next header of this chain, or not certified by those who vote on it.
        """
        header, genesis = one.header, self.genesis
        self._check_link(header)
        check_commit(one.commit_qc, header.block_id, header.height, header.epoch, genesis.chain_id, self.validators)
        self.validators = self._following(header, members_of)
        self.head = header
        self.frontier = self.frontier.append(history_leaf(header.block_id))[0]

    def _check_link(self, header: Header) -> None:
        head, genesis = self.head, self.genesis
        if header.chain_id != genesis.chain_id:
            raise Refused("chain id", "3", "the header is of another chain")
        if (header.height, header.prev_block_id) != (head.height + 1, head.block_id):
            raise Refused("link", "3", f"the header of height {header.height} does not stand on height {head.height}")
        if header.history_root != self.frontier.root():
            raise Refused("history_root", "3", "the header names another history than the blocks below it")
        if header.timestamp_ms <= head.timestamp_ms:
            raise Refused("time", "3", "the header is not later than the one below it")
        if header.epoch != genesis.epoch(header.height) or header.validators_hash != self.validators.hash:
            raise Refused("validators_hash", "3", "the header names other voters than the header below it decided")

    def _following(self, header: Header, members_of: SetSource) -> ValidatorSet:
        """Return who votes after this header."""
        if header.next_validators_hash == self.validators.hash:
            return self.validators
        if self.genesis.epoch(header.height + 1) == header.epoch:
            raise Refused("next_validators_hash", "11", "voters change within an epoch")
        found = members_of(header.epoch + 1)
        if found.hash != header.next_validators_hash:
            raise Refused("next_validators_hash", "11", "the members given are not those that the header decides on")
        return found
