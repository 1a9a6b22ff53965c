"""A node behind its socket is the node: the same blocks, the same refusals, and peers of any kind cost it little."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from listening_node import raw, served
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import PREPARE, TIMEOUT
from ledger.agreement.proposal import Proposal
from ledger.carrier import Carrier, carry_block
from ledger.contracts.governance import Propose
from ledger.contracts.governance import Vote as GovernanceVote
from ledger.credit.credit_messages import Finding
from ledger.errors import Behind, Halted, Malformed, Refused, Unreachable
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.delivery import Received
from ledger.messages.review import Review
from ledger.remote.answers import result_of
from ledger.remote.client import RemoteNode
from ledger.remote.dispatch import OPERATORS_ONLY
from ledger.remote.framing import MAX_MESSAGE, Deadline, receive, send
from ledger.remote.peers import Peers
from ledger.remote.process import listening
from ledger.remote.protocol import Method, question
from ledger.remote.server import Bounds, Room

pytestmark = pytest.mark.mongo
HOME = "nursing-home"


@pytest.fixture
def remote(region: RegionSimulation, tmp_path: Path) -> Iterator[RemoteNode]:
    with served(region.node(HOME), tmp_path / "s" / "n.sock") as client:
        yield client


@pytest.fixture
def remotes(region: RegionSimulation, tmp_path: Path) -> Iterator[dict[str, RemoteNode]]:
    with ExitStack() as stack:
        folder = tmp_path / "s"
        yield {
            name: stack.enter_context(served(node, folder / f"{place}"))
            for place, (name, node) in enumerate(region.nodes.items())
        }


def offer(region: RegionSimulation, node: RemoteNode, count: int = 3) -> None:
    made = node.submit(region.entries(node.institution, count), node.next_seq(), "vault")
    region.exchange.post_submission(made.tx, made.leaves)


def test_a_region_of_nodes_behind_sockets_makes_blocks_like_any_other(
    region: RegionSimulation, remotes: dict[str, RemoteNode]
) -> None:
    carriers = [Carrier(one, region.exchange) for one in remotes.values()]
    for height in (1, 2):
        offer(region, remotes["hospital-east"])
        assert carry_block(carriers) == height
    assert {one.height for one in remotes.values()} == {2}
    assert len({node.replica.view.head.block_id for node in region.nodes.values()}) == 1
    assert not remotes[AUDITOR].is_voter and remotes[HOME].is_voter
    assert region.node(HOME).verify_chain().ok


def test_a_client_answers_what_the_node_answers(region: RegionSimulation, remotes: dict[str, RemoteNode]) -> None:
    for name, node in region.nodes.items():
        client = remotes[name]
        assert (client.height, client.is_voter, client.next_seq()) == (node.height, node.is_voter, node.next_seq())
        assert client.producer(1) == node.producer(1) and client.is_producer(1, 0) == node.is_producer(1, 0)
        assert client.status() == (0, node.is_voter, "")
        mine, theirs = client.heading(), node.heading()
        assert {**mine, "nonce": b""} == {**theirs, "nonce": b""} and mine["nonce"] != theirs["nonce"]


def test_a_round_that_fails_is_given_up_and_its_certified_block_proposed_again(
    region: RegionSimulation, remotes: dict[str, RemoteNode]
) -> None:
    producer = remotes[region.producer().institution]
    offer(region, producer)
    carriers = {name: Carrier(one, region.exchange) for name, one in remotes.items()}
    carriers[producer.institution].propose()
    (first,) = region.exchange.proposals(1, 0)
    for garbage in (b"garbage", replace(Proposal.decode(first), bodies=()).encode()):
        region.exchange.post_proposal(1, 0, garbage)
    for name in region.voters:
        carriers[name].prepare()
    carriers[HOME].confirm()  # locked; all other COMMITs are lost
    for name in region.voters:
        carriers[name].time_out(1, 0)
    assert region.exchange.certificate(1, 0, TIMEOUT) is not None
    assert carry_block(list(carriers.values())) == 1
    again = next(iter(region.exchange.proposals(1, 1)))
    assert Proposal.decode(again).block == Proposal.decode(first).block
    assert {one.height for one in remotes.values()} == {1}


def test_a_stored_proposal_finds_its_leaves_among_earlier_proposals(
    region: RegionSimulation, remotes: dict[str, RemoteNode]
) -> None:
    producer = remotes[region.producer().institution]
    made = region.publish(producer.institution)
    first = producer.propose([(made.tx, made.leaves)])
    assert first is not None
    assert producer.propose([], carried=iter([b"garbage", b"more of it", first, b"never read"])) == first
    with pytest.raises(Behind, match="try again with them"):
        producer.propose([], carried=[b"garbage"])
    assert producer.propose([(made.tx, made.leaves)]) == first


def test_submissions_left_out_are_named_with_their_reason(
    region: RegionSimulation, remotes: dict[str, RemoteNode]
) -> None:
    name = region.producer().institution
    good, ahead = region.publish(name), region.publish(name, seq=7)
    told: list[tuple[bytes, str]] = []
    offered = [(ahead.tx, ahead.leaves), (good.tx, good.leaves)]
    made = remotes[name].propose(offered, on_skip=lambda tx, error: told.append((tx, error.rule)))
    assert made is not None and len(Proposal.decode(made).bodies) == 1
    assert [tx for tx, _ in told] == [ahead.tx] and told[0][1]


def test_refusals_cross_whole_and_change_nothing(region: RegionSimulation, remote: RemoteNode) -> None:
    proposal = region.proposal(region.publish(region.producer().institution))
    region.node(HOME).commit(region.prepare_qc(proposal), proposal)
    tc = region.time_out()
    bare = replace(Proposal.decode(proposal), bodies=()).encode()
    with pytest.raises(Refused) as here:
        region.node(HOME).prepare(bare)
    before = region.snapshot()
    for wrong, error in (
        (lambda: remote.prepare(bare), Refused),
        (lambda: remote.prepare(b"garbage"), Malformed),
        (lambda: remote.commit(b"garbage", proposal), Malformed),
        (lambda: remote.timeout(9, 0), Behind),
        (lambda: remote.timeout(0, 0), Refused),
        (lambda: remote.submit([], 1, "vault"), Refused),
        (lambda: remote.fate(b"garbage"), Malformed),
        (lambda: remote.apply(b"garbage", b"", []), Malformed),
        (lambda: remote.propose([], 0), Refused),
    ):
        with pytest.raises(error) as raised:
            wrong()
        assert type(raised.value) is error
    with pytest.raises(Refused) as there:
        remote.prepare(bare)
    assert str(there.value) == str(here.value)
    assert (there.value.rule, there.value.section) == (here.value.rule, here.value.section)
    assert region.snapshot() == before
    assert remote.good_certificate([b"garbage", tc], 1, 0, TIMEOUT) == tc
    assert remote.good_certificate([b"garbage"], 1, 0, PREPARE) is None


def test_a_refusal_over_a_lock_brings_the_lock(region: RegionSimulation, remote: RemoteNode) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    certificate = region.prepare_qc(first)
    remote.commit(certificate, first)
    others = [one for one in region.voters if one != HOME]
    tc = region.time_out(who=others)
    second = region.proposal(region.publish(region.producer(1).institution), round_=1, tc=tc)
    with pytest.raises(Refused, match="locked") as refused:
        remote.prepare(second)
    assert refused.value.lock_qc == certificate


def test_the_node_opens_what_is_wrapped_to_its_key_and_nothing_else(
    region: RegionSimulation, remote: RemoteNode
) -> None:
    assert remote.public.bytes == region.keys[HOME].public.bytes
    assert remote.decrypt(remote.public.encrypt(b"a wrapped key")) == b"a wrapped key"
    for wrong in (region.keys[AUDITOR].public.encrypt(b"another's"), b"", bytes(200), bytes(1 << 20)):
        with pytest.raises(Refused, match="ciphertext"):
            remote.decrypt(wrong)


def test_a_halted_node_says_so_and_signs_nothing_behind_its_socket(
    region: RegionSimulation, remote: RemoteNode
) -> None:
    region.node(HOME)._pen.votes.halt("the store is an old copy")
    proposal = region.proposal(region.publish(region.producer().institution))
    before = region.snapshot()
    with pytest.raises(Halted, match=r"the store is an old copy.*xinglin node recover"):
        remote.prepare(proposal)
    assert remote.status() == (0, True, "the store is an old copy")
    assert region.snapshot() == before


def test_a_client_asks_no_other_institution_or_chain(settled: RegionSimulation, tmp_path: Path) -> None:
    path = tmp_path / "s" / "n.sock"
    with served(settled.node(HOME), path):
        for institution, chain in ((AUDITOR, settled.genesis.chain_id), (HOME, bytes(32))):
            with pytest.raises(Refused, match="this is the node of nursing-home"):
                _ = RemoteNode(path, institution, chain).height


def test_a_user_not_named_is_turned_away_before_a_byte_is_read(settled: RegionSimulation, tmp_path: Path) -> None:
    path, stranger = tmp_path / "s" / "n.sock", frozenset({os.geteuid() + 1})
    with served(settled.node(HOME), path, Peers(stranger, stranger)) as client:
        with pytest.raises(Refused, match="may not ask this node"):
            _ = client.height
        with pytest.raises(Refused, match="may not ask this node"):
            client.prepare(bytes(4 << 20))
        with raw(path) as silent, pytest.raises(Refused, match="peer"):
            result_of(receive(silent, MAX_MESSAGE, Deadline(5)))


def test_what_speaks_for_the_institution_is_signed_for_operators_only(region: RegionSimulation, tmp_path: Path) -> None:
    own, nobody = frozenset({os.geteuid()}), frozenset[int]()
    heading = region.node(HOME).heading()
    ballot = GovernanceVote(**heading, proposal=bytes(32), choice=1)
    receipt = Received(**heading, request=bytes(32), holder=region.node(AUDITOR).id, package=bytes(32))
    asked = {"holders": (region.node(AUDITOR).id,), "purpose": "research", "answer_key": heading["key_id"]}
    dataset = AccessRequest(**heading, asked=SelectionAsked(bytes(32), 9), **asked)
    assert {one.TYPE for one in (Propose, GovernanceVote, Finding, Approval, Review)} == OPERATORS_ONLY
    before = region.snapshot()
    for operators in (own, nobody):
        with served(region.node(HOME), tmp_path / "s" / "n.sock", Peers(own, operators)) as client:
            assert Received.decode(client.sign(receipt)).signed_bytes() == receipt.signed_bytes()
            if operators:
                signed = GovernanceVote.decode(client.sign(ballot))
                assert region.keys[HOME].public.verify(signed.signature, ballot.signed_bytes())
                continue
            for personal in (ballot, dataset):
                with pytest.raises(Refused, match="operator"):
                    client.sign(personal)
            for foreign in (replace(receipt, sender=region.node(AUDITOR).id), replace(receipt, chain_id=bytes(32))):
                with pytest.raises(Refused, match="its own transactions"):
                    client.sign(foreign)
    assert region.snapshot() == before


# --- peers of any kind -----------------------------------------------------------------------------------------------


def test_garbage_endless_lengths_and_silence_are_cut_off_and_others_are_served(
    settled: RegionSimulation, tmp_path: Path
) -> None:
    path = tmp_path / "s" / "n.sock"
    with served(settled.node(HOME), path, bounds=Bounds(connections=8, seconds=0.4)) as client:
        with raw(path) as endless, raw(path) as silent, raw(path) as drip, raw(path) as garbage, raw(path) as half:
            endless.sendall((MAX_MESSAGE + 1).to_bytes(4, "big"))
            with pytest.raises(Malformed, match="at most"):
                result_of(receive(endless, MAX_MESSAGE, Deadline(5)))
            send(garbage, b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(Malformed, match="question"):
                result_of(receive(garbage, MAX_MESSAGE, Deadline(5)))
            drip.sendall((100).to_bytes(4, "big") + b"X")
            half.sendall(b"\0\0")
            half.shutdown(socket.SHUT_WR)
            assert client.height == 2
            for cut in (silent, drip, half):
                assert cut.recv(1) == b""
        assert client.height == 2


def test_one_connection_too_many_is_told_to_come_again(settled: RegionSimulation, tmp_path: Path) -> None:
    path = tmp_path / "s" / "n.sock"
    with served(settled.node(HOME), path, bounds=Bounds(connections=2, seconds=0.5)) as client:
        with raw(path), raw(path), pytest.raises(Unreachable, match="no connection left"):
            _ = client.height
        until = time.monotonic() + 5
        while time.monotonic() < until:
            try:
                assert client.height == 2
                break
            except Unreachable:
                time.sleep(0.02)
        else:
            pytest.fail("the places of peers that went away were not given back")


def test_large_questions_share_the_room_and_small_ones_pass_by() -> None:
    room = Room(10 << 20)
    with room.hold(8 << 20, 1.0):
        with room.hold(512, 0.0):
            pass
        with pytest.raises(Unreachable, match="busy"), room.hold(8 << 20, 0.05):
            pass
    with room.hold(8 << 20, 0.0):
        pass


def test_a_large_proposal_crosses_whole(region: RegionSimulation, remotes: dict[str, RemoteNode]) -> None:
    producer = remotes[region.producer().institution]
    made = producer.submit(region.entries(producer.institution, 20_000), 1, "vault")
    assert made.tx_id and len(made.leaves) > 3 << 20
    proposal = producer.propose([(made.tx, made.leaves)])
    assert proposal is not None and len(proposal) > 3 << 20
    vote = remotes[HOME].prepare(proposal)
    assert vote == region.node(HOME).prepare(proposal)


def test_who_is_being_answered_when_the_node_stops_still_gets_the_answer(
    region: RegionSimulation, tmp_path: Path
) -> None:
    submission = region.publish(region.producer().institution, 5_000)
    proposal = region.proposal(submission)
    with ThreadPoolExecutor(1) as pool:
        with served(region.node(HOME), tmp_path / "s" / "n.sock") as client:
            asked = pool.submit(client.prepare, proposal)
            while not any(one.name == "question" for one in threading.enumerate()):
                assert not asked.done()
        assert asked.result(10) == region.node(HOME).prepare(proposal)
        with pytest.raises(Unreachable):
            _ = client.height


def test_a_question_with_every_cut_and_change_is_refused_in_one_family(
    settled: RegionSimulation, tmp_path: Path
) -> None:
    whole = question(
        settled.genesis.chain_id, settled.node(HOME).id, Method.TIMEOUT, bytes(8) + bytes(4) + b"\0" + bytes(4)
    )
    path, before = tmp_path / "s" / "n.sock", settled.snapshot()
    broken = [whole[:cut] for cut in range(0, len(whole), 5)]
    broken += [whole[:62] + bytes([number]) + whole[63:] for number in (0, 200, 255)]
    with served(settled.node(HOME), path):
        for one in broken:
            with raw(path) as connection:
                send(connection, one)
                with pytest.raises(Malformed):
                    result_of(receive(connection, MAX_MESSAGE, Deadline(5)))
    assert settled.snapshot() == before


def test_many_clients_at_once_are_all_answered(settled: RegionSimulation, tmp_path: Path) -> None:
    with served(settled.node(HOME), tmp_path / "s" / "n.sock") as client, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: client.height, range(16))) == [2] * 16


def test_no_node_no_answer_and_no_doubt_about_it(tmp_path: Path) -> None:
    client = RemoteNode(tmp_path / "none.sock", HOME, bytes(32), patience=0.1)
    with pytest.raises(Unreachable, match="xinglin node run"):
        _ = client.height


def test_who_answers_like_no_node_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "s" / "n.sock"
    with listening(path, None) as listener:

        def pretend() -> None:
            for answer in (b"HTTP/1.1 200 OK\r\n", b"XL/NODE/SAY/1\0\x63", b"XL/NODE/SAY/1\0\0too short", b""):
                connection, _ = listener.accept()
                with connection:
                    receive(connection, MAX_MESSAGE, Deadline(5))
                    if answer:
                        send(connection, answer)

        thread = threading.Thread(target=pretend)
        thread.start()
        client = RemoteNode(path, HOME, bytes(32), patience=0.1)
        for _ in range(4):
            with pytest.raises(Unreachable):
                client.next_seq()
        thread.join()


def test_the_socket_has_its_mode_from_the_first_moment_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s" / "n.sock"
    with listening(path, None):
        assert path.stat().st_mode & 0o777 == 0o660
        assert path.parent.stat().st_mode & 0o777 == 0o750
        assert [one.name for one in path.parent.iterdir()] == ["n.sock"]
        with listening(path, None):
            pass
    assert list(path.parent.iterdir()) == []
