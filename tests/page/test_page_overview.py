"""What the page makes of its nodes: told as they tell it, held against one another, silent ones named."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import hostile_node as hostile
import pytest
from node_addresses import DEAD, configured
from region_simulation import AUDITOR, RegionSimulation

from ledger.page import asking
from ledger.page.addresses import NodeAddress, node_addresses
from ledger.page.asking import Nodes
from ledger.page.overview import NodeReading, Overview, look


def seen(addresses: tuple[NodeAddress, ...], wanted: str | None = None) -> Overview:
    async def once() -> Overview:
        nodes = Nodes.opened()
        try:
            return await look(nodes, addresses, wanted)
        finally:
            await nodes.close()

    return asyncio.run(once())


@contextlib.contextmanager
def told(*answers: dict[str, Any]) -> Iterator[tuple[NodeAddress, ...]]:
    """Hostile nodes of the institutions whose status they give, in order; a node without one is the laboratory's."""
    with ExitStack() as stack:
        yield tuple(NodeAddress(_name(one), stack.enter_context(hostile.node(one))[0]) for one in answers)


def _name(answers: dict[str, Any]) -> str:
    status = answers.get("/v1/status")
    return str(status["institution"]) if isinstance(status, dict) else "lab-centre"


def verdicts(overview: Overview) -> list[tuple[str, int]]:
    return [(one.verdict, one.behind) for one in overview.nodes]


def only(overview: Overview) -> NodeReading:
    [one] = overview.nodes
    return one


@pytest.mark.mongo
def test_a_region_is_told_as_its_nodes_have_it(region: RegionSimulation, nodes: dict[str, str]) -> None:
    found = seen(node_addresses(configured(nodes)))
    head = region.node(AUDITOR).replica.view.head
    assert found.teller is not None and found.teller.status is not None
    assert (found.teller.status.height, found.teller.status.block_id) == (6, head.block_id.hex())
    assert found.teller.status.region == "杏林示范区" and found.name("hospital-east") == "东城医院"
    assert {one.address.institution: (one.verdict, one.behind) for one in found.nodes} == {
        "hospital-east": ("level", 0), "hospital-west": ("level", 0), "hospital-district": ("level", 0),
        AUDITOR: ("level", 0), "nursing-home": ("behind", 2), "lab-centre": ("silent", 0),
    }  # fmt: skip
    assert [one.height for one in found.blocks] == [6, 5, 4, 3, 2, 1]
    assert found.blocks[0].absent == ("nursing-home",) and found.blocks[4].absent == ("hospital-district",)
    assert [one.epoch for one in found.credit] == [0, 1, 2, 3]
    assert set(found.credit[0].scores) == set(region.nodes)
    assert found.missing == () and found.pending == ()


@pytest.mark.mongo
def test_another_nodes_account_is_told_where_it_is_asked_for(nodes: dict[str, str]) -> None:
    found = seen(node_addresses(configured(nodes)), "nursing-home")
    assert found.teller is not None and found.teller.address.institution == "nursing-home"
    assert found.teller.status is not None and found.teller.status.height == 4
    assert found.blocks[0].height == 4 and found.teller.behind == 2
    assert seen(node_addresses(configured(nodes)), "lab-centre").teller is not None  # silent: another tells


def test_no_node_at_all_is_said_and_nothing_else() -> None:
    found = seen((NodeAddress("lab-centre", DEAD),))
    assert found.teller is None and verdicts(found) == [("silent", 0)]
    assert only(found).problem == ("地址上没有程序在监听", "nothing listens at its address")


def test_two_blocks_of_one_height_are_a_contradiction_whoever_tells() -> None:
    status = hostile.status(institution="hospital-west", block_id="a" * 64)
    other = hostile.whole(status=status, blocks={"blocks": [hostile.block(block_id="a" * 64)]})
    with told(hostile.whole(), other) as addresses:
        assert verdicts(seen(addresses, "hospital-east")) == [("level", 0), ("contradicts", 0)]
        assert verdicts(seen(addresses, "hospital-west")) == [("contradicts", 0), ("level", 0)]


def test_a_node_that_contradicts_itself_is_named() -> None:
    with told(hostile.whole(status=hostile.status(block_id="a" * 64))) as addresses:
        assert verdicts(seen(addresses)) == [("contradicts", 0)]


def test_a_lower_nodes_other_block_is_found_beyond_the_list() -> None:
    blocks = {"blocks": [hostile.block(one, block_id="d" * 64) for one in range(1, 91)]}
    high = hostile.whole(status=hostile.status(height=90, block_id="d" * 64), blocks=blocks)
    low = hostile.whole(status=hostile.status(institution="hospital-west", height=7))
    with told(high, low) as addresses:
        found = seen(addresses)
    assert verdicts(found) == [("level", 0), ("contradicts", 83)]
    assert found.nodes[1].problem == ("在高度 7 有另一个区块", "at height 7 it has another block")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"institution": "hospital-east", "chain_id": "e" * 64}, "contradicts"),
        ({"institution": "hospital-east", "halted": "two certified blocks of one height"}, "halted"),
    ],
)
def test_a_node_of_another_chain_or_halted_is_named(status: dict[str, Any], verdict: str) -> None:
    west = hostile.whole(status=hostile.status(institution="hospital-west"))
    with told(hostile.whole(status=hostile.status(**status)), west) as addresses:
        found = seen(addresses, "hospital-west")
    assert [one.verdict for one in found.nodes] == [verdict, "level"] and found.nodes[0].problem


def test_a_node_that_calls_itself_another_is_named_and_believed_last() -> None:
    with told(hostile.whole(status=hostile.status(height=500)), hostile.whole()) as (liar, honest):
        posing = NodeAddress("lab-centre", liar.url)
        found = seen((posing, honest))
    assert [one.verdict for one in found.nodes] == ["stranger", "level"]
    assert found.teller is not None and found.teller.address == honest
    assert found.nodes[0].problem == ("它自称 hospital-east", "it says that it is hospital-east")


def test_parts_that_do_not_come_are_named_and_the_others_stand() -> None:
    answers = hostile.whole(members={"members": [1]}, credit=hostile.says(b"{}", 503))
    with told(answers) as addresses:
        found = seen(addresses)
    assert [one.name for one in found.missing] == ["members", "credit"]
    assert found.missing[1].problem == ("回答 HTTP 503", "it answers HTTP 503")
    assert found.members == () and len(found.blocks) == 2 and found.name("lab-centre") == "lab-centre"


@pytest.mark.parametrize(
    ("answer", "verdict", "problem"),
    [
        (hostile.endless, "silent", "its answer is longer than 1 MiB"),
        (hostile.trickle, "silent", "no answer within 0.4 s"),
        (hostile.says(b"<html>"), "unreadable", "its answer is not of the form that this page reads"),
        (hostile.says(b"[" * 1_000_000), "unreadable", "its answer is not of the form that this page reads"),
        (hostile.says({}, 500), "silent", "it answers HTTP 500"),
    ],
    ids=["endless", "trickle", "html", "deep", "500"],
)
def test_a_bad_answer_costs_little_and_is_named(
    answer: hostile.Answer, verdict: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.4 if answer is hostile.trickle else 10.0)
    begun = time.monotonic()
    with told({"/v1/status": answer}) as addresses:
        found = seen(addresses)
    assert only(found).verdict == verdict and found.teller is None
    assert only(found).problem is not None and only(found).problem[1] == problem
    assert time.monotonic() - begun < 9


def test_a_redirect_is_not_followed() -> None:
    with hostile.node(hostile.whole()) as (inner, asked), told({"/v1/status": hostile.elsewhere(inner)}) as addresses:
        found = seen(addresses)
    assert asked == [] and only(found).problem == ("回答 HTTP 302", "it answers HTTP 302")
