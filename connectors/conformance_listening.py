"""The conformance suite for sources that send by themselves: what their senders rely on, shown on a listener of ours.

In the tests of a kind the suite is one statement, as in ``connectors.conformance``::

    assert_listening_conforms(trial)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from connectors.conformance import Check, Status
from connectors.listening import Listener
from schemas.records import RawRecord


@dataclass(frozen=True, slots=True)
class ListeningTrial:
    """A listener with the source's settings that lands in memory, and the end of a sender.

    Attributes:
        deliver: Sends one record as the source's senders do; returns their answer, or None where none came in time.
        accepted: Whether an answer tells the sender to go on: the record is kept.
        landed: Every different record that is durable, in order.
        break_landing: Told True, nothing can be made durable; told False, it can again.
        good: Two records or more that must be kept, each different.
        bad: Records that the sender must be told of, by what is wrong with them; empty where the protocol has no answer
            but yes.
        unproved: Delivers as a sender whose credentials are wrong; None where the source's settings ask for none.
    """

    deliver: Callable[[bytes], bytes | None]
    accepted: Callable[[bytes], bool]
    landed: Callable[[], Sequence[bytes]]
    break_landing: Callable[[bool], None]
    good: Sequence[bytes]
    bad: Mapping[str, bytes]
    unproved: Callable[[bytes], bytes | None] | None = None


@dataclass(slots=True)
class Memory:
    """Where a listener on trial lands: each record once; or nowhere, while it is broken."""

    contents: list[bytes] = field(default_factory=list)
    broken: bool = False

    def land_many(self, raws: list[RawRecord]) -> Sequence[bool]:
        """Return for each whether it was new."""
        if self.broken:
            raise OSError("nothing can be stored")
        new = []
        for raw in raws:
            new.append(raw.content not in self.contents)
            self.contents += [raw.content] if new[-1] else []
        return new

    def break_landing(self, broken: bool) -> None:
        """Nothing can be stored, or everything again."""
        self.broken = broken


@contextmanager
def serving(listener: Listener, seconds: float = 5.0) -> Iterator[Thread]:
    """The listener runs in a thread of its own, which is yielded, until the context ends."""
    ready, loop, stopped = Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        await listener.start()
        ready.set()
        await stopped.wait()
        await listener.stop(grace_seconds=1)

    thread = Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(seconds)
    try:
        yield thread
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(seconds)
        loop.close()


def listening_conformance(trial: ListeningTrial) -> tuple[Check, ...]:
    """Return what every check showed, in an order in which each starts from what the one before left."""
    checks = (
        ("sender_reaches_it", _sender_reaches_it),
        ("wrong_credentials_fail", _wrong_credentials_fail),
        ("acknowledged_only_when_durable", _acknowledged_only_when_durable),
        ("repeat_lands_once", _repeat_lands_once),
        ("bad_records_are_refused", _bad_records_are_refused),
    )
    return tuple(Check(name, *check(trial)) for name, check in checks)


def assert_listening_conforms(trial: ListeningTrial) -> None:
    """Raise AssertionError where a check fails or is not shown."""
    faults = [one for one in listening_conformance(trial) if one.status in ("failed", "not_shown")]
    if faults:
        raise AssertionError("; ".join(f"{one.name} {one.status}: {one.detail}" for one in faults))


def _kept(trial: ListeningTrial, answer: bytes | None) -> bool:
    return answer is not None and trial.accepted(answer)


def _sender_reaches_it(trial: ListeningTrial) -> tuple[Status, str]:
    answer = trial.deliver(trial.good[0])
    if not _kept(trial, answer):
        return "failed", f"a right record was {'not answered' if answer is None else 'answered as refused'}"
    if list(trial.landed()) != [trial.good[0]]:
        return "failed", "a record was acknowledged and is not there"
    return "passed", "a right record was acknowledged, and is there byte for byte"


def _wrong_credentials_fail(trial: ListeningTrial) -> tuple[Status, str]:
    if trial.unproved is None:
        return "not_applicable", "the settings ask the sender for no credentials"
    before = len(trial.landed())
    if _kept(trial, trial.unproved(trial.good[1])) or len(trial.landed()) > before:
        return "failed", "a record of a sender with wrong credentials was kept"
    return "passed", "a sender with wrong credentials was turned away, and nothing of it kept"


def _acknowledged_only_when_durable(trial: ListeningTrial) -> tuple[Status, str]:
    trial.break_landing(True)
    answer = trial.deliver(trial.good[1])
    trial.break_landing(False)
    if _kept(trial, answer):
        return "failed", "a record was acknowledged while nothing could be stored"
    if not _kept(trial, trial.deliver(trial.good[1])) or trial.good[1] not in trial.landed():
        return "failed", "a record that was sent again after storage was away did not arrive"
    return "passed", "nothing was acknowledged while storage was away; sent again, the record arrived"


def _repeat_lands_once(trial: ListeningTrial) -> tuple[Status, str]:
    before = len(trial.landed())
    first, again = trial.deliver(trial.good[0]), trial.deliver(trial.good[0])
    if len(trial.landed()) > before:
        return "failed", "a record sent again landed a second time"
    if not (_kept(trial, first) and _kept(trial, again)):
        return "failed", "a record sent again was not acknowledged, so its sender would never stop"
    return "passed", "a record sent again landed once and was acknowledged each time"


def _bad_records_are_refused(trial: ListeningTrial) -> tuple[Status, str]:
    if not trial.bad:
        return "not_applicable", "the protocol has no answer but yes; bad records are set aside once they landed"
    before = len(trial.landed())
    for fault, record in trial.bad.items():
        answer = trial.deliver(record)
        if answer is None:
            return "failed", f"a record with {fault} was not answered, so its sender would send it for ever"
        if trial.accepted(answer):
            return "failed", f"a record with {fault} was acknowledged as a right one"
    if len(trial.landed()) > before:
        return "failed", "a record that was refused was kept as well"
    if not _kept(trial, trial.deliver(trial.good[-1])):
        return "failed", "after bad records a right one was refused"
    return "passed", f"refused with a reason, and nothing kept: {', '.join(trial.bad)}"
