"""Nodes of the simulated region behind real HTTP servers on loopback, as the tests of sync and serving use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from fastapi import FastAPI
from fastapi.responses import Response
from region_simulation import AUDITOR, RegionSimulation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.agreement.certificate import COMMIT, PREPARE, Ballot, QuorumCertificate, Vote
from ledger.chain.validators import institution_id
from ledger.credit.evidence import find_evidence
from ledger.credit.statements import Voters
from ledger.proofs.checkpoints import Checkpoints
from ledger.serving.application import make_app
from ledger.serving.guard import Limits
from ledger.serving.served import Served
from ledger.serving.server import Listening, make_server, running
from shangmi import sm3

FREE = Limits(per_second=1e6, burst=1_000_000)


def served(region: RegionSimulation, institution: str, offered: Callable[[], Iterable[bytes]] = tuple) -> Served:
    replica = region.node(institution).replica
    checkpoints = Checkpoints(region.mongo[region.database_name(institution)], replica)
    return Served(institution, replica, checkpoints, offered)


@contextmanager
def serving(region: RegionSimulation, institution: str, limits: Limits = FREE) -> Iterator[str]:
    """The interface of one institution's node; yields its address."""
    server = make_server(make_app(served(region, institution), limits), Listening(port=0), limits)
    with running(server) as port:
        yield f"http://127.0.0.1:{port}"


class Liar:
    """The interface of a node whose answers somebody changes: what is asked for, and what it gives instead.

    Args:
        app: The honest interface.
        lie: Given path and honest body, returns the body sent, or None to leave the answer as it is.
    """

    def __init__(self, app: ASGIApp, lie: Callable[[str, bytes], bytes | None]) -> None:
        self.app, self.lie = app, lie
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: dict[str, Any] = {}
        body = bytearray()

        async def collecting(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                path = str(scope["path"])
                query = scope["query_string"].decode()
                self.asked.append(f"{path}?{query}" if query else path)
                lie = self.lie(self.asked[-1], bytes(body)) if started["status"] == 200 else None
                answer = Response(bytes(body) if lie is None else lie, started["status"])
                await answer(scope, receive, send)

        await self.app(scope, receive, collecting)


@contextmanager
def lying(
    region: RegionSimulation, institution: str, lie: Callable[[str, bytes], bytes | None]
) -> Iterator[tuple[str, Liar]]:
    """A node that answers with lies; yields its address and what it was asked."""
    liar = Liar(make_app(served(region, institution), FREE), lie)
    with running(make_server(cast("FastAPI", liar), Listening(port=0), FREE)) as port:
        yield f"http://127.0.0.1:{port}", liar


def with_other_voters(region: RegionSimulation) -> str:
    """Grow a region of epochs of four blocks to height 10: the set loses who signed two ways, whose id is returned."""
    jailed = "hospital-district"
    region.grow(1)
    ballots = (Ballot(PREPARE, 1, 0, 0, bytes(31) + bytes([one])) for one in (1, 2))
    id_, key, chain = institution_id(jailed), region.keys[jailed], region.genesis.chain_id
    votes = [Vote(one, id_, key.sign(one.signed_bytes(chain))).encode() for one in ballots]
    found = find_evidence(votes, Voters.known_to(chain, region.node(AUDITOR).replica.view))
    submission = region.publish(region.producer().institution, 2)
    proposal = region.producer().propose([(submission.tx, submission.leaves)], evidence=found)
    assert proposal is not None and found
    region.finish(proposal)
    region.grow(2, count=4)
    region.grow(5, count=2, absent=[jailed])
    region.node(jailed).sync(region.node(AUDITOR).replica)
    region.grow(1, count=300, absent=[jailed])
    return jailed


def certified(region: RegionSimulation, header: Any, type_: int = COMMIT, who: int = 5) -> bytes:
    """A certificate on any header by the first voters: what only those who hold their keys can make."""
    ballot = Ballot(type_, header.height, 1, header.epoch, header.block_id, 1 if type_ == COMMIT else 0, sm3(b"x"))
    message = ballot.signed_bytes(region.genesis.chain_id)
    signatures = tuple(region.keys[one].sign(message) for one in region.voters[:who])
    return QuorumCertificate(ballot, len(region.voters), tuple(range(who)), signatures).encode()
