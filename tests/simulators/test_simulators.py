"""The synthetic region: what it says it sent is what arrives, and what must become of it does."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from connectors import open_connector, open_listener
from connectors.his.hl7v2_mllp import Listener
from normalise.errors import SetAside
from normalise.hl7v2 import convert, inspect
from quality.gate import Gate
from schemas.records import Normalised, RawRecord, Unreadable
from schemas.source import Source, load_source
from simulators.delivery import Delivery, Undelivered
from simulators.his import Hospital
from simulators.lis import Laboratory
from simulators.people import check_character, patient
from simulators.sent import Sent
from simulators.trouble import TROUBLES

#: A small limit, so that an oversize message costs little.
LIMIT = 65_536
EAST = Hospital(seed=1, source="hospital-east-his", record_bytes=LIMIT)
WEST = Hospital(1, "hospital-west-his", "gb18030", declares=False, name="西城医院", record_bytes=LIMIT)


class Store:
    """Lands by content, as the vault does."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []
        self.seen: set[bytes] = set()
        self.refused: Counter[str] = Counter()
        self.broken = threading.Event()

    def land_many(self, records: list[RawRecord]) -> list[bool]:
        if self.broken.is_set():
            raise ConnectionError
        fresh = [one.content not in self.seen for one in records]
        self.records += [one for one, new in zip(records, fresh, strict=True) if new]
        self.seen |= {one.content for one in records}
        return fresh

    def refuse(self, code: str) -> None:
        self.refused[code] += 1


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "east.yaml"
    path.write_text(
        "{id: east, institution: hospital-east, kind: his.hl7v2_mllp, time_zone: Asia/Shanghai, settings: {port: 0}}"
    )
    return replace(load_source(path), record_bytes=LIMIT)


@contextmanager
def listening(source: Source, store: Store) -> Iterator[Listener]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    check = partial(inspect, context=source.context)
    listener = open_listener(source, Path(), store.land_many, check, store.refuse)
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result(20)
    try:
        yield listener
    finally:
        asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def outcomes(records: list[RawRecord], source: Source) -> tuple[int, Counter[str]]:
    """What normalising and the gate make of records: how many are sealed, and why the others are not."""
    reasons: Counter[str] = Counter()
    made: list[Normalised] = []
    for record in records:
        try:
            made.append(convert(record.content, source.context))
        except SetAside as error:
            reasons[error.refusal.code] += 1
    report = Gate(source.suite).check(made)
    reasons.update(refusals[0].code for refusals in report.refusals if refusals)
    return sum(not refusals for refusals in report.refusals), reasons


@pytest.mark.parametrize("hospital", [EAST, WEST], ids=["utf-8", "gb18030-undeclared"])
def test_what_a_hospital_says_it_sent_is_what_arrived_and_became_of_it(hospital: Hospital, source: Source) -> None:
    source = replace(source, charset="gb18030" if hospital is WEST else "auto")
    store = Store()
    with listening(source, store) as listener:
        sent = hospital.send("127.0.0.1", listener.port, messages=60, connections=3)
        counts = listener.counts
    assert (sent.sealed, sent.repeats) == (60, 1)
    assert sent.received == counts.landed + counts.repeats
    assert sent.repeats == counts.repeats
    assert sent.refused == store.refused == counts.refused
    assert sent.answers == Counter(AA=60 + 1) + Counter(kind.answer for kind in TROUBLES)
    assert outcomes(store.records, source) == (sent.sealed, sent.set_aside)
    assert {kind.reason for kind in TROUBLES} <= set(sent.refused) | set(sent.set_aside)


def test_second_day_brings_new_messages_and_a_tenth_of_the_day_before(source: Source) -> None:
    store = Store()
    with listening(source, store) as listener:
        first = EAST.send("127.0.0.1", listener.port, 40, trouble=False)
        second = EAST.send("127.0.0.1", listener.port, 40, trouble=False, day=1)
        again = EAST.send("127.0.0.1", listener.port, 40, trouble=False, day=1)
        counts = listener.counts
    assert (first.sealed, second.sealed, second.repeats) == (40, 40, 4)
    assert counts.landed == 80
    assert counts.repeats == second.repeats + again.received
    assert first + second == Sent(80, 4, answers=Counter(AA=84))


def test_hospital_sends_again_what_was_not_answered(source: Source) -> None:
    store = Store()
    store.broken.set()
    with listening(source, store) as listener:
        mended = threading.Timer(0.3, store.broken.clear)
        mended.start()
        sent = EAST.send("127.0.0.1", listener.port, 5, trouble=False, patience_seconds=20)
        mended.join()
    assert sent.sealed == len(store.records) == 5
    assert sent.resent >= 1


def test_hospital_without_a_listener_gives_up_with_a_sentence(source: Source) -> None:
    with listening(source, Store()) as listener:
        port = listener.port
    with pytest.raises(Undelivered, match="see that the listener runs"):
        EAST.send("127.0.0.1", port, 1, trouble=False, patience_seconds=0.1)
    with Delivery("127.0.0.1", port, 0.1) as delivery, pytest.raises(Undelivered):
        delivery.send(b"MSH|")


def pulled(folder: Path, source: Source) -> tuple[list[RawRecord], list[Unreadable]]:
    kind = replace(
        source, kind="his.hl7v2_files", settings={"folder": str(folder), "pattern": "*.hl7", "quiet_seconds": 0}
    )
    records = [one for page in open_connector(kind, Path()).pull() for one in page.records]
    return [r for r in records if isinstance(r, RawRecord)], [r for r in records if isinstance(r, Unreadable)]


def test_what_a_laboratory_says_it_dropped_is_what_is_read_and_became_of_it(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    sent = Laboratory(1, record_bytes=LIMIT).drop(folder, files=3, messages_per_file=15)
    assert sent.files == len(list(folder.iterdir())) == 6
    records, unreadable = pulled(folder, source)
    assert len(records) + len(unreadable) == sent.received
    fresh = list({one.content: one for one in records}.values())
    assert len(records) - len(fresh) == sent.repeats
    sealed, reasons = outcomes(fresh, source)
    assert sealed == sent.sealed == 45 + 4
    assert reasons + Counter(one.refusal.code for one in unreadable) == sent.set_aside


def test_laboratorys_files_begin_with_a_mark_end_lines_variously_and_differ_in_charset(tmp_path: Path) -> None:
    Laboratory(1).drop(tmp_path, files=3, messages_per_file=2, trouble=False)
    one, two, three = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert one.startswith(b"\xef\xbb\xbfFHS")
    assert b"\r\n" in one
    assert b"\r" not in two
    assert "检验".encode("gb18030") in three


def test_laboratorys_second_day_drops_yesterdays_first_file_again(source: Source, tmp_path: Path) -> None:
    laboratory = Laboratory(1)
    first = laboratory.drop(tmp_path, 2, 5, trouble=False)
    second = laboratory.drop(tmp_path, 2, 5, trouble=False, day=1)
    records, _ = pulled(tmp_path, source)
    assert (first.sealed, second.sealed, second.repeats) == (10, 10, 5)
    assert len({one.content for one in records}) == 20
    assert len(records) == 25


def test_names_of_the_laboratorys_bad_files_hold_a_patients_name_that_no_record_repeats(
    source: Source, tmp_path: Path
) -> None:
    Laboratory(1, record_bytes=LIMIT).drop(tmp_path, 0, 0)
    name = next(tmp_path.iterdir()).name.split("_")[0]
    assert re.search("[一-龥]", name)
    records, unreadable = pulled(tmp_path, source)
    assert all(name not in one.position + one.native_id for one in records)
    assert all(name not in one.position + repr(one.refusal) for one in unreadable)


def test_same_seed_and_day_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import hashlib; from simulators.his import Hospital; from simulators.lis import Laboratory;"
        "h = hashlib.sha256(repr(Hospital(1, 'hospital-east-his').plan(50, 3)).encode());"
        "h.update(Laboratory(1).file(2, 9, 1)); print(h.hexdigest())"
    )
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
        ).stdout
        for seed, zone in (("0", "UTC"), ("7", "America/New_York"))
    }  # fmt: skip
    assert len(found) == 1


def test_two_hospitals_never_send_the_same_control_id() -> None:
    def ids(hospital: Hospital, day: int) -> list[bytes]:
        good = [message for visit in hospital.plan(100, day) for message in visit]
        bad = [message for message, _ in hospital.troubles(100, day) if message.startswith(b"MSH")]
        return [one.split(b"\r")[0].split(b"|")[9] for one in good + bad]

    every = [*ids(EAST, 0), *ids(EAST, 1), *ids(WEST, 0)]
    assert len(set(every)) == len(every)


def test_identity_numbers_have_the_right_check_character_date_and_sex() -> None:
    assert check_character("11010519491231002") == "X"
    for number in range(300):
        one = patient(1, number)
        assert one.identity[17] == check_character(one.identity[:17])
        assert one.identity[6:14] == f"{one.born:%Y%m%d}"
        assert int(one.identity[16]) % 2 == (one.sex == "M")
        assert one == patient(1, number)
    assert patient(1, 5) != patient(2, 5)
