"""A new replica made from the certified state at an epoch's end instead of from every block since genesis (section 13).

Voters are followed from epoch to epoch by one certificate each. The last of them certifies a header, and everything is
held to that: ids of all blocks by its history root, every entry of the state by its state root, blocks by their ids,
leaves by the batch roots in them. What is saved is executing blocks and verifying their signatures; the content is the
same. The head is written last: until then the replica stands at genesis, and whatever was killed goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from ledger.agreement.certificate import check_commit
from ledger.agreement.proposal import check_carried
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.header import Header, history_leaf
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Frontier
from ledger.chain.replica import FinalBlock, Replica
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import ValidatorSet
from ledger.errors import Behind, Refused
from ledger.proofs.tiles import ENTRY_BYTES, WIDTH, Tile, block_ids
from ledger.sync.arrival import Arrival
from ledger.sync.header_chain import CertifiedHeader
from ledger.sync.peer import Network, Peer, PeerFailed, TooLarge
from ledger.sync.state_chunks import MAX_BYTES, MAX_DEPTH, StateChunk

log = logging.getLogger(__name__)
#: Chunks asked for at most; a peer that answers "too much" for ever gets no further.
MAX_CHUNKS: Final = 1 << 17
_Made = TypeVar("_Made")


class FastSync:
    """One attempt to bring a replica that stands at genesis to the end of an epoch.

    Args:
        replica: It; nothing but genesis is final in it.
        peers: Whom to ask; any of them may lie.
        network: What they are asked on.
    """

    def __init__(self, replica: Replica, peers: Sequence[Peer], network: Network) -> None:
        self._replica = replica
        self._genesis = replica.genesis
        self._peers = list(peers)
        self._network = network
        self.dropped: dict[str, str] = {}

    def run(self) -> int:
        """Bring the replica to the highest epoch's end that a peer proves, and return that height.

        Raises:
            Refused: The replica has blocks already; it catches up block by block.
            Behind: No peer proves and gives such a state; genesis is all there is, or catch up from it.
        """
        if self._replica.view.head.height:
            raise Refused("fast sync", "13", "this replica has blocks already; it catches up block by block")
        while self._peers:
            peer = self._peers[0]
            try:
                return self._from(peer)
            except (PeerFailed, Refused) as error:
                log.warning("%s is asked no more: %s", peer.institution, error)
                self.dropped[peer.institution] = str(error)
                self._peers.remove(peer)
        raise Behind("no peer gives a certified state; catch up block by block, or name other peers")

    def _from(self, peer: Peer) -> int:
        heights = self._wait(peer.state_heights())
        if not heights:
            raise PeerFailed(f"the node of {peer.institution}: no epoch has ended there")
        last = self._certified(peer, max(heights))
        arrival = Arrival(self._replica, last.header)
        ids = self._ids(peer, last.header)
        self._state(peer, last.header, arrival)
        self._blocks(peer, ids, last, arrival)
        frontier = Frontier()
        for one in ids:
            frontier, made = frontier.append(history_leaf(one))
            arrival.history(made)
        arrival.finish(last.header, last.commit_qc, frontier)
        return last.header.height

    # --- what is certified -------------------------------------------------------------------------------------

    def _certified(self, peer: Peer, height: int) -> CertifiedHeader:
        """Return the header of an epoch's end, after following the voters from genesis to it, an epoch at a time."""
        length, voters = self._genesis.parameters.epoch_blocks, self._genesis.validators
        if height % length:
            raise PeerFailed(f"the node of {peer.institution}: {height} is no epoch's end")
        found: CertifiedHeader | None = None
        for end in range(length, height + 1, length):
            shown = self._wait(peer.headers(end, 1))
            if not shown:
                raise PeerFailed(f"the node of {peer.institution}: it does not show header {end}")
            found = shown[0]
            voters = self._follow(peer, found, voters)
        if found is None:
            raise PeerFailed(f"the node of {peer.institution}: no epoch has ended there")
        return found

    def _follow(self, peer: Peer, one: CertifiedHeader, voters: ValidatorSet) -> ValidatorSet:
        """Return who votes after the end of an epoch, whose last header its own voters certified."""
        header, genesis = one.header, self._genesis
        epoch = genesis.epoch(header.height)
        if (header.chain_id, header.epoch, header.validators_hash) != (genesis.chain_id, epoch, voters.hash):
            raise Refused("validators_hash", "13", "the header is of another chain, or names other voters")
        check_commit(one.commit_qc, header.block_id, header.height, epoch, genesis.chain_id, voters)
        if header.next_validators_hash == voters.hash:
            return voters
        following = self._wait(peer.members(epoch + 1))
        if following.hash != header.next_validators_hash:
            raise Refused("next_validators_hash", "13", "the members given are not those that the header decides on")
        return following

    def _ids(self, peer: Peer, last: Header) -> list[bytes]:
        """Return the ids of all blocks up to the last one, held to its history root."""
        ids: list[bytes] = []
        for index in range(last.height // WIDTH + 1):
            tile = Tile(0, index, min(WIDTH, last.height + 1 - index * WIDTH))
            data = self._wait(peer.read(f"/{tile.entries_path}", WIDTH * ENTRY_BYTES))
            ids += block_ids(data, tile)
        below = Frontier()
        for one in ids[:-1]:
            below = below.append(history_leaf(one))[0]
        if below.root() != last.history_root or ids[-1] != last.block_id or ids[0] != self._genesis.header.block_id:
            raise Refused("history_root", "13", "the ids shown are not those of the certified history")
        return ids

    # --- content -----------------------------------------------------------------------------------------------

    def _state(self, peer: Peer, last: Header, arrival: Arrival) -> None:
        """Store the whole state, chunk by chunk; a prefix with too many entries is asked for in halves."""
        prefixes, asked = [""], 0
        while prefixes:
            prefix = prefixes.pop()
            if arrival.has_chunk(prefix):
                continue
            asked += 1
            if asked > MAX_CHUNKS:
                raise PeerFailed(f"the node of {peer.institution}: too many chunks")
            try:
                data = self._wait(peer.read(f"/v1/state/{last.height}/chunk?prefix={prefix}", MAX_BYTES * 2))
            except TooLarge:
                if len(prefix) == MAX_DEPTH:
                    raise
                prefixes += [prefix + "1", prefix + "0"]
                continue
            chunk = StateChunk.decode(data)
            arrival.chunk(prefix, chunk.verify(last.state_root, prefix), [value for _, value in chunk.entries])

    def _blocks(self, peer: Peer, ids: Sequence[bytes], last: CertifiedHeader, arrival: Arrival) -> None:
        """Store every block with its leaves and the certificate that the block above it carries.

        That certificate is the one whose digest is in the header above: no signature needs verifying.
        """
        entries = self._replica.view.parameters.batch_entries * 4  # governance may have raised it since
        waiting: tuple[int, FinalBlock, Block] | None = None
        for height in range(arrival.blocks(ids) + 1, last.header.height + 1):
            final = self._wait(peer.final(height, entries))
            block = Block.decode(final.block)
            if block.header.block_id != ids[height]:
                raise Refused("header", "13", "the block is not the one in the certified history")
            check_carried(block)
            if waiting is not None:
                self._store(*waiting, block.prev_commit, arrival)
            waiting = height, final, block
        if waiting is not None:
            self._store(*waiting, last.commit_qc, arrival)

    @staticmethod
    def _store(height: int, final: FinalBlock, block: Block, commit_qc: bytes, arrival: Arrival) -> None:
        if len(final.bodies) != len(block.transactions):
            raise Refused("leaves", "13", "expected leaves for each transaction")
        kept: list[tuple[bytes, Leaves] | None] = []
        for data, body in zip(block.transactions, final.bodies, strict=True):
            tx = open_transaction(data)
            if not isinstance(tx, SubmitBatch):
                if body:
                    raise Refused("leaves", "13", "a transaction that is no batch has no leaves")
                kept.append(None)
                continue
            leaves = Leaves.decode(body)
            if (leaves.root, len(leaves)) != (tx.batch_root, tx.count):
                raise Refused("batch root", "13", "the leaves do not have the root that was signed")
            kept.append((tx.submitter, leaves))
        arrival.block(height, FinalBlock(final.block, commit_qc, final.bodies), kept)

    def _wait(self, work: Coroutine[Any, Any, _Made]) -> _Made:
        return self._network.start(work).result()


def fast_sync(replica: Replica, peers: Sequence[Peer], network: Network) -> int:
    """Bring a replica that stands at genesis to an epoch's end; see ``FastSync.run``."""
    return FastSync(replica, peers, network).run()
