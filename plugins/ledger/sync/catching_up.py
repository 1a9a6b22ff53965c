"""A node that was away gets what became final meanwhile from other nodes: headers first, then content (section 13).

Headers and certificates say what is final, whoever shows them. Content is asked of f + 1 sources, so that one of them
is honest; all others are asked for the next header alone, which betrays sources that hold something back. Every block
is executed again by the node before it is its own; killed at any point, it goes on from its head.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ledger.agreement.certificate import check_commit
from ledger.agreement.following import Receipt
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock, Replica
from ledger.chain.validators import ValidatorSet, institution_id
from ledger.errors import Behind, Diverged, Refused
from ledger.sync.header_chain import MAX_HEADERS, CertifiedHeader, HeaderChain, SetSource
from ledger.sync.peer import Network, Peer, PeerFailed

log = logging.getLogger(__name__)
#: Blocks asked for before the one at work is applied.
AHEAD: Final = 4
_CHANCE: Final = random.SystemRandom()
HeadersOf = Callable[[Peer], Coroutine[Any, Any, list[CertifiedHeader]]]


class Applier(Protocol):
    """The node that catches up: ``ledger.node.Node``, or its following part."""

    @property
    def replica(self) -> Replica:
        """Its copy of the chain."""
        ...

    def apply(self, block: bytes, commit_qc: bytes, leaves: Sequence[bytes]) -> Receipt:
        """Make a certified block the replica's head after executing it."""
        ...


@dataclass(slots=True)
class Caught:
    """What catching up came to.

    Attributes:
        applied: Blocks applied.
        height: Height of the head afterwards.
        final: Height of the highest header that was verified; above ``height`` where its content is held back.
        dropped: Why a peer is asked no more, by institution.
        withheld: Sources that did not show what another peer had.
    """

    applied: int = 0
    height: int = 0
    final: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)


class CatchUp:
    """One run of catching up.

    Args:
        node: Who catches up.
        peers: Whom to ask, each institution once.
        network: What they are asked on.
        shuffle: Puts the peers in the order in which they become sources; by chance, so that none can count on it.
    """

    def __init__(
        self,
        node: Applier,
        peers: Sequence[Peer],
        network: Network,
        shuffle: Callable[[list[Peer]], None] = _CHANCE.shuffle,
    ) -> None:
        self._node = node
        self._network = network
        self._peers = list(peers)
        shuffle(self._peers)
        self._sources = enough(self._peers, node.replica.view.validators)
        self.caught = Caught()

    def run(self) -> Caught:
        """Catch up as far as any peer shows; the replica holds every block whose content could be had.

        Raises:
            Diverged: A good certificate contradicts this replica, or two good ones each other; both are kept.
            Behind: Verified headers are there and nobody gives their content.
        """
        replica = self._node.replica
        self._check_head()
        while plan := self._plan():
            self._apply(plan)
        self.caught.height = replica.view.head.height
        self.caught.final = max(self.caught.final, self.caught.height)
        return self.caught

    # --- headers -----------------------------------------------------------------------------------------------

    def _check_head(self) -> None:
        """Halt where a peer shows another certified block at this replica's own height."""
        view = self._node.replica.view
        height = view.head.height
        if not height:
            return
        for peer, shown in self._ask_all(self._peers, lambda peer: peer.headers(height, 1)):
            for one in shown:
                if one.header == view.head:
                    continue
                try:
                    self._check_certified(one, view.voters_at(height))
                except Refused as error:
                    self._drop(peer, str(error))
                else:
                    self._halt(peer, one)

    def _check_certified(self, one: CertifiedHeader, voters: ValidatorSet) -> None:
        header, genesis = one.header, self._node.replica.genesis
        if header.chain_id != genesis.chain_id:
            raise Refused("chain id", "3", "the header is of another chain")
        epoch = genesis.epoch(header.height)
        check_commit(one.commit_qc, header.block_id, header.height, epoch, genesis.chain_id, voters)

    def _halt(self, peer: Peer, one: CertifiedHeader) -> None:
        """Keep what contradicts this replica, with its content where the peer gives it, and raise Diverged."""
        self._keep(peer, one)
        raise Diverged(
            f"{peer.institution} shows another certified block of height {one.header.height}; both are kept, nothing "
            "was overwritten, and this node signs nothing more"
        )

    def _keep(self, peer: Peer, one: CertifiedHeader) -> None:
        final = FinalBlock(Block(one.header, b"", ()).encode(), one.commit_qc, ())
        try:
            shown = self._final(peer, one.header.height).result()
            if Block.decode(shown.block).header == one.header:
                final = FinalBlock(shown.block, one.commit_qc, shown.bodies)
        except (PeerFailed, Refused):
            pass  # the certified header alone convicts; its content is not needed for that
        self._node.replica.keep_conflict(final, "two certified blocks of one height")

    def _plan(self) -> list[CertifiedHeader]:
        """Return the verified headers above the head, a window of them; none where no peer shows any."""
        chain = self._chain()
        plan = self._longest(self._sources, chain)
        if len(plan) < MAX_HEADERS:
            plan += self._held_back(chain)
        self.caught.final = max(self.caught.final, chain.head.height)
        return plan

    def _chain(self) -> HeaderChain:
        view = self._node.replica.view
        return HeaderChain(self._node.replica.genesis, view.head, view.frontier, view.validators)

    def _longest(self, peers: Sequence[Peer], chain: HeaderChain, count: int = MAX_HEADERS) -> list[CertifiedHeader]:
        """Return the longest chain that one of these peers shows above ``chain``, and move ``chain`` to its end."""
        first, best, end = chain.head.height + 1, list[CertifiedHeader](), chain
        for peer, shown in self._ask_all(peers, lambda peer: peer.headers(first, count)):
            own, good = copy(chain), list[CertifiedHeader]()
            for one in shown:
                try:
                    own.extend(one, self._members_from(peer))
                except (Refused, PeerFailed) as error:
                    self._drop(peer, str(error))
                    break
                good.append(one)
            self._check_agreement(peer, best, good)
            if len(good) > len(best):
                best, end = good, own
        chain.head, chain.frontier, chain.validators = end.head, end.frontier, end.validators
        return best

    def _check_agreement(self, peer: Peer, one: list[CertifiedHeader], other: list[CertifiedHeader]) -> None:
        """Halt where two peers show two certified blocks of one height: more than a third of the votes lie."""
        for mine, theirs in zip(one, other, strict=False):
            if mine.header != theirs.header:
                self._node.replica.keep_conflict(
                    FinalBlock(Block(mine.header, b"", ()).encode(), mine.commit_qc, ()),
                    "two certified blocks of one height",
                )
                self._halt(peer, theirs)

    def _held_back(self, chain: HeaderChain) -> list[CertifiedHeader]:
        """Return what the other peers show above what the sources did; whoever shows more becomes a source."""
        others = [one for one in self._peers if one not in self._sources]
        more = self._longest(others, chain, 1)
        if more:
            named = {one.institution for one in self._sources}
            self.caught.withheld |= named
            log.warning("height %d: %s did not show what others have", chain.head.height, ", ".join(sorted(named)))
            self._sources = self._peers
        return more

    # --- content -----------------------------------------------------------------------------------------------

    def _apply(self, plan: Sequence[CertifiedHeader]) -> None:
        """Apply the blocks of these headers, asking for the next ones meanwhile."""
        coming: dict[int, tuple[Peer, Future[FinalBlock]]] = {}
        try:
            for place, one in enumerate(plan):
                for later in plan[place : place + AHEAD]:
                    height = later.header.height
                    if height not in coming and self._sources:
                        peer = self._sources[height % len(self._sources)]
                        coming[height] = peer, self._final(peer, height)
                self._apply_one(one, coming.pop(one.header.height, None))
        finally:
            for _, future in coming.values():
                future.cancel()

    def _apply_one(self, one: CertifiedHeader, asked: tuple[Peer, Future[FinalBlock]] | None) -> None:
        """Apply one block from whoever gives it, the one asked first."""
        tried: set[Peer] = set()
        while True:
            if asked is None:
                left = [peer for peer in (*self._sources, *self._peers) if peer not in tried]
                if not left:
                    raise Behind(
                        f"block {one.header.height} is final and {len(tried)} peers asked do not give its content; "
                        "try again, or add a peer"
                    )
                asked = left[0], self._final(left[0], one.header.height)
            peer, future = asked
            tried.add(peer)
            if self._took(one, peer, future):
                return
            asked = None

    def _took(self, one: CertifiedHeader, peer: Peer, future: Future[FinalBlock]) -> bool:
        try:
            final = future.result()
            if Block.decode(final.block).header != one.header:
                raise Refused("header", "13", "the block is not the one whose header was shown")
            self._node.apply(final.block, one.commit_qc, final.bodies)
        except (PeerFailed, Refused) as error:
            self._drop(peer, str(error))
            return False
        self.caught.applied += 1
        return True

    def _final(self, peer: Peer, height: int) -> Future[FinalBlock]:
        entries = self._node.replica.view.parameters.batch_entries
        return self._network.start(peer.final(height, entries))

    # --- peers -------------------------------------------------------------------------------------------------

    def _members_from(self, peer: Peer) -> SetSource:
        return lambda epoch: self._network.start(peer.members(epoch)).result()

    def _ask_all(self, peers: Sequence[Peer], ask: HeadersOf) -> Iterator[tuple[Peer, list[CertifiedHeader]]]:
        """Yield each peer's answer, all asked at once; who fails is dropped."""
        asked = [(peer, self._network.start(ask(peer))) for peer in peers]
        for peer, future in asked:
            try:
                yield peer, future.result()
            except PeerFailed as error:
                self._drop(peer, str(error))

    def _drop(self, peer: Peer, why: str) -> None:
        log.warning("%s is asked no more: %s", peer.institution, why)
        self.caught.dropped[peer.institution] = why
        self._peers = [one for one in self._peers if one is not peer]
        self._sources = [one for one in self._sources if one is not peer] or self._peers


def enough(peers: Sequence[Peer], validators: ValidatorSet) -> list[Peer]:
    """Return the first peers that together weigh more than a third of the votes: one of them is honest."""
    weight, found = 0, []
    for one in peers:
        found.append(one)
        member = validators.member(institution_id(one.institution))
        weight += member.weight if member else 0
        if 3 * weight > validators.total:
            break
    return found


def catch_up(node: Applier, peers: Sequence[Peer], network: Network) -> Caught:
    """Catch up from these peers; see ``CatchUp.run``."""
    return CatchUp(node, peers, network).run()
