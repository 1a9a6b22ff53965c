"""The table of published records forgets none, whatever it grew through; and who asks by it refuses every duplicate."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import AUDITOR, RegionSimulation

from ledger.chain.leaves import Leaves
from ledger.chain.published import PublishedKeys
from ledger.chain.replica import FinalBlock
from ledger.node import Node

KEYS = st.lists(st.binary(min_size=20, max_size=20), max_size=30)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(KEYS, max_size=4), KEYS)
def test_what_was_taken_in_is_always_suspected(taken: list[list[bytes]], others: list[bytes]) -> None:
    table = PublishedKeys()
    for keys in taken:
        table.take(keys)
    held = [key for keys in taken for key in keys]
    assert table.suspects(held) == held
    suspected = table.suspects(others)
    assert [key for key in others if key in held] == [key for key in suspected if key in held]


def test_a_table_that_grew_forgets_nothing_and_suspects_few_new_ones() -> None:
    chance, table = random.Random(7), PublishedKeys()
    taken: list[bytes] = []
    for _ in range(5):
        keys = [chance.randbytes(20) for _ in range(60_000)]
        table.take(keys)
        taken += keys
    assert table.count == 300_000
    assert table.suspects(taken) == taken
    fresh = [chance.randbytes(20) for _ in range(20_000)]
    assert len(table.suspects(fresh)) < 0.08 * len(fresh)


def test_the_largest_table_grows_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.chain.published._LARGEST", 22)
    chance, table = random.Random(8), PublishedKeys()
    keys = [chance.randbytes(20) for _ in range(300_000)]
    table.take(keys)
    assert table.suspects(keys) == keys
    assert len(table._bits) == 1 << 22 - 3


def published(final: FinalBlock) -> list[bytes]:
    return [key for body in final.bodies for key in Leaves.decode(body).keys]


def asked(node: Node, submitter: bytes, keys: list[bytes]) -> list[bool]:
    """What a node says of each key by itself, as of its head."""
    return [node.replica.known(submitter, [key], node.height) for key in keys]


@pytest.mark.mongo
def test_every_way_to_a_head_knows_every_record_up_to_it_and_no_other(region: RegionSimulation) -> None:
    applying, following = region.node(AUDITOR), region.open(AUDITOR)  # two processes on one replica
    submitter = region.producer().id
    new = [region.random.randbytes(20) for _ in range(20)]
    assert not any(asked(one, submitter, new)[0] for one in (applying, following))
    first = region.grow(3)  # every producer's turn comes once
    mine = published(first[0])
    for node in (applying, following, region.open(AUDITOR)):
        assert asked(node, submitter, mine) == [True] * len(mine)
        assert asked(node, submitter, new) == [False] * len(new)
        assert asked(node, submitter, published(first[1])) == [False] * len(published(first[1]))
    later = published(region.grow(1)[0])
    late = region.open(AUDITOR)
    for node in (applying, following, late):
        assert node.replica.known(submitter, new + mine[-1:], node.height)
        assert asked(node, submitter, later) == [True] * len(later)
        assert not node.replica.known(submitter, later, node.height - 1)


@pytest.mark.mongo
def test_a_process_reads_all_keys_only_after_it_asked_for_as_many(region: RegionSimulation) -> None:
    submitter = region.producer().id
    region.grow(1, count=4)
    node = region.open(AUDITOR)
    new = [region.random.randbytes(20) for _ in range(600)]
    for tables in (0, 1):  # one stored piece counts as a thousand keys
        assert not node.replica.known(submitter, new, node.height)
        assert len(node.replica._records.published) == tables
