"""What nodes may answer: read where it is whole, refused with one family of error where it is not."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

import hostile_node as hostile
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Refused
from ledger.page.node_interface import read_blocks, read_credit, read_members, read_pending, read_status

READERS: list[Callable[[bytes], object]] = [read_status, read_blocks, read_members, read_credit, read_pending]
LISTS: dict[str, Callable[[bytes], Sized]] = {
    "blocks": read_blocks, "members": read_members, "epochs": read_credit, "batches": read_pending,
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def test_whole_answers_are_read_and_unknown_keys_passed_over() -> None:
    status = read_status(orjson.dumps(hostile.status(added_later=[1])))
    assert (status.institution, status.height, status.halted) == ("hospital-east", 2, None)
    [block] = read_blocks(orjson.dumps({"blocks": [hostile.block()], "next": 3}))
    assert (block.height, block.weight, block.total, block.absent) == (2, 11, 12, ("nursing-home",))
    [member] = read_members(orjson.dumps({"members": [hostile.member(credit=None)]}))
    assert (member.class_, member.credit) == ("A", None)
    found = read_credit(orjson.dumps({"epochs": [{"epoch": 2, "scores": {}}, {"epoch": 1, "scores": {"a": 7}}]}))
    assert [one.epoch for one in found] == [1, 2]
    [pending] = read_pending(orjson.dumps({"batches": [{"submitter": "a", "seq": 1, "entries": 2}]}))
    assert pending.received_ms is None


STATUS_FLAWS: dict[str, Any] = {
    "a height below 0": {"height": -1},
    "a height that is a fraction": {"height": 1.5},
    "a height that is true": {"height": True},
    "a height as text": {"height": "2"},
    "a height beyond 63 bits": {"height": 1 << 63},
    "a chain id in capitals": {"chain_id": "C" * 64},
    "a chain id too short": {"chain_id": "c" * 62},
    "a region without end": {"region": "x" * 300},
    "a name that is a list": {"institution": ["hospital-east"]},
    "no producer": {"next_producer": None},
}


@pytest.mark.parametrize("flaw", STATUS_FLAWS)
def test_a_status_with_a_flaw_is_refused_with_its_name(flaw: str) -> None:
    changes = STATUS_FLAWS[flaw]
    with pytest.raises(Refused, match=rf"answer \(section 13\): status: {next(iter(changes))} is not"):
        read_status(orjson.dumps(hostile.status(**changes)))


def test_lists_without_end_are_refused() -> None:
    with pytest.raises(Refused, match="at most 200"):
        read_blocks(orjson.dumps({"blocks": [hostile.block()] * 201}))
    with pytest.raises(Refused, match="at most 1000"):
        read_blocks(orjson.dumps({"blocks": [hostile.block(signers=["a"] * 1001)]}))
    with pytest.raises(Refused, match="at most 1000"):
        read_credit(orjson.dumps({"epochs": [{"epoch": 0, "scores": {f"i{one}": 1 for one in range(1001)}}]}))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"height": NaN}'])
def test_rubbish_is_refused_by_every_reader(reader: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(Refused):
        reader(data)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(LISTS)), st.dictionaries(st.sampled_from(sorted(LISTS)), JSON))
def test_any_json_is_read_line_by_line_or_refused(name: str, value: dict[str, Any]) -> None:
    try:
        found = LISTS[name](orjson.dumps(value))
    except Refused as error:
        assert (error.rule, error.section) == ("answer", "13")
        return
    assert len(found) == len(value[name])


@settings(max_examples=50, derandomize=True, deadline=None)
@given(JSON)
def test_no_json_without_a_status_is_read_as_one(value: object) -> None:
    with pytest.raises(Refused, match=r"answer \(section 13\)"):
        read_status(orjson.dumps(value))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(hostile.status())), JSON)
def test_any_change_of_a_status_is_read_as_it_stands_or_refused(name: str, value: object) -> None:
    try:
        found = read_status(orjson.dumps(hostile.status(**{name: value})))
    except Refused as error:
        assert (error.rule, error.section) == ("answer", "13")
        return
    read = getattr(found, "producer" if name == "next_producer" else name)
    assert (type(read), read) == (type(value), value)
