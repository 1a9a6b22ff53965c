"""Frames, questions and answers from anybody: what is accepted is canonical, everything else is one family of error."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.agreement.following import Receipt
from ledger.chain.leaves import Leaves, RecordLeaf, entries_of, leaves_of
from ledger.encoding import Reader, var
from ledger.errors import Behind, Diverged, Halted, LedgerError, Malformed, Refused, TooEarly, Unreachable
from ledger.remote import answers
from ledger.remote.answers import Wanted, failure, result_of
from ledger.remote.dispatch import work_of
from ledger.remote.framing import MAX_MESSAGE, Broken, Deadline, receive, send
from ledger.remote.protocol import (
    Method,
    flag,
    optional,
    question,
    read_flag,
    read_optional,
    read_question,
    read_receipt,
    receipt,
)
from schemas.records import Entry

FUZZ = settings(max_examples=150, deadline=None, derandomize=True)
CHAIN, WHO = bytes(range(32)), bytes(range(16))


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_as_a_question_are_malformed_or_a_known_method(data: bytes) -> None:
    try:
        found = read_question(data)
    except Malformed:
        return
    assert found.method in Method


@FUZZ
@given(st.sampled_from(Method), st.binary(max_size=300), st.booleans())
def test_any_arguments_are_refused_in_one_family_or_make_work(method: Method, data: bytes, operator: bool) -> None:
    asked = question(CHAIN, WHO, method, data)
    try:
        work = work_of(read_question(asked), operator=operator)
    except Refused as error:
        assert error.rule and error.section
        return
    assert callable(work)
    assert callable(work_of(read_question(asked), operator=True))  # an operator may ask whatever a worker may


@FUZZ
@given(st.sampled_from(Method), st.data())
def test_arguments_with_anything_behind_them_are_malformed(method: Method, data: st.DataObject) -> None:
    """Whatever a method reads, it reads to the end."""
    arguments = data.draw(st.binary(max_size=64))
    try:
        work_of(read_question(question(CHAIN, WHO, method, arguments)), operator=True)
    except Refused:
        return
    with pytest.raises(Malformed):
        work_of(read_question(question(CHAIN, WHO, method, arguments + b"\0")), operator=True)


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_as_an_answer_are_a_result_or_an_error_of_the_ledger(data: bytes) -> None:
    for candidate in (data, answers._DOMAIN + data):
        try:
            assert isinstance(result_of(candidate), Reader)
        except (LedgerError, Wanted):
            continue


@FUZZ
@given(st.binary(min_size=1, max_size=300))
def test_an_error_answer_is_canonical(data: bytes) -> None:
    candidate = answers._DOMAIN + data
    try:
        result_of(candidate)
    except Unreachable as error:
        if "no node of this version" not in str(error):
            assert failure(error) == candidate
    except (LedgerError, Wanted) as error:
        assert failure(error) == candidate


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@FUZZ
@given(words, words, words, st.binary(max_size=80))
def test_a_refusal_comes_back_as_it_was_raised(rule: str, section: str, message: str, lock: bytes) -> None:
    rule, section = rule[:16], section[:16]
    error = Refused(rule, section, message, lock)
    with pytest.raises(Refused) as found:
        result_of(failure(error))
    assert type(found.value) is Refused and str(found.value) == str(error)
    assert (found.value.rule, found.value.section, found.value.lock_qc) == (rule, section, lock)


@pytest.mark.parametrize("kind", [Behind, Halted, Diverged, Unreachable, Malformed])
def test_every_error_of_a_node_keeps_its_kind_and_words(kind: type[LedgerError]) -> None:
    error = kind("区第二医院 expected 3, got 4")
    with pytest.raises(LedgerError) as found:
        result_of(failure(error))
    assert type(found.value) is kind and str(found.value) == str(error)


def test_what_comes_too_early_comes_back_with_the_time_that_is_left() -> None:
    with pytest.raises(TooEarly, match="opened here") as found:
        result_of(failure(TooEarly("round 0 opened here 3 s ago", 17_000)))
    assert found.value.milliseconds == 17_000


def test_an_error_that_is_none_of_the_ledgers_says_nothing_of_what_it_holds() -> None:
    with pytest.raises(Unreachable) as found:
        result_of(failure(ValueError("mongodb://user:secret@host, patient 张伟")))
    assert "secret" not in str(found.value) and "张伟" not in str(found.value)
    assert "builtins.ValueError" in str(found.value)


def test_words_without_end_are_cut_between_characters() -> None:
    with pytest.raises(Halted) as found:
        result_of(failure(Halted("医" * 10_000)))
    assert set(str(found.value)) == {"医"} and len(str(found.value)) == answers.MAX_TEXT // 3


@FUZZ
@given(st.one_of(st.none(), st.binary(max_size=20)), st.booleans())
def test_what_may_be_absent_comes_back(value: bytes | None, truth: bool) -> None:
    reader = Reader(optional(value) + flag(truth), "test")
    assert read_optional(reader, 20) == value and read_flag(reader) is truth
    reader.end()


@pytest.mark.parametrize("byte", [2, 255])
def test_a_truth_value_is_one_or_zero(byte: int) -> None:
    with pytest.raises(Malformed):
        read_flag(Reader(bytes([byte]), "test"))


def test_receipts_come_back() -> None:
    one = Receipt(7, "ab" * 32, 3, ("cd" * 32, "ef" * 32), ("hospital-east", "东城"), repeated=True)
    reader = Reader(receipt(one), "receipt")
    assert read_receipt(reader) == one
    reader.end()


def test_records_come_back_from_their_leaves() -> None:
    entries = [
        Entry(bytes([place]) * 16, 1 + place, bytes(32), bytes(32), bytes(32), 7, 14, f"东{place}")
        for place in range(20)
    ]
    assert entries_of(leaves_of(entries)) == entries
    broken = RecordLeaf(bytes(16), 1, bytes(32), bytes(32), bytes(32), 7, 14, b"\xff\xfe").encode()
    with pytest.raises(Malformed, match="UTF-8"):
        entries_of(Leaves.join([broken]))


def test_a_message_of_any_size_crosses_and_an_announced_one_costs_nothing() -> None:
    one, other = socket.socketpair()
    with one, other:
        for size in (0, 1, (1 << 20) - 1, (1 << 20) + 1, 5 << 20):
            data = bytes(size)
            sender = threading.Thread(target=send, args=(one, data))
            sender.start()
            assert receive(other, MAX_MESSAGE, Deadline(10)) == data
            sender.join()
        one.sendall(MAX_MESSAGE.to_bytes(4, "big"))
        with pytest.raises(Malformed, match="at most 100"):
            receive(other, 100, Deadline(10))


def test_a_peer_that_stops_in_the_middle_or_takes_too_long_is_given_up() -> None:
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(Broken, match=r"too long|broke"):
            receive(other, 100, Deadline(0.05))
        one.sendall((10).to_bytes(4, "big") + b"abc")
        one.close()
        with pytest.raises(Broken, match="hung up"):
            receive(other, 100, Deadline(1))
        with pytest.raises(Broken):
            send(other, bytes(1 << 20))


def test_questions_of_different_methods_never_read_as_each_other() -> None:
    seen = {question(CHAIN, WHO, method, var(b"same")) for method in Method}
    assert len(seen) == len(Method)
    for one in seen:
        found = read_question(one)
        assert (found.chain_id, found.institution) == (CHAIN, WHO)
