"""A hospital information system that sends admissions and results over MLLP, and waits for each answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from typing import Final, Literal

from simulators.delivery import Delivery, Undelivered
from simulators.messages import DECLARED, Sender
from simulators.sent import Sent
from simulators.trouble import TROUBLES, Trouble, spoilt
from simulators.visits import visits

#: One message of each kind of trouble in so many.
_TROUBLE_EVERY: Final = 150
#: Of yesterday's messages, one in so many is sent again today.
_AGAIN_EVERY: Final = 10

#: Told after every answer, for a progress bar.
Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Hospital:
    """One hospital.

    Attributes:
        seed: The region's seed; hospitals of one region have the same people.
        source: Id of its source, as in ``sources/<id>.yaml``; other hospitals' numbers differ by it.
        charset: Codec it writes.
        declares: Whether MSH-18 says so.
        name: The institution's name.
        record_bytes: The listener's size limit, to go beyond.
    """

    seed: int
    source: str
    charset: Literal["utf-8", "gb18030"] = "utf-8"
    declares: bool = True
    name: str = "东城医院"
    record_bytes: int = 4_194_304

    @property
    def sender(self) -> Sender:
        """The system."""
        oid = f"1.2.156.112699.{sum(self.source.encode())}"
        return Sender("HIS", self.name, oid, self.charset, DECLARED[self.charset] if self.declares else "")

    @property
    def code(self) -> str:
        """What its control ids begin with."""
        return "".join(part[0] for part in self.source.upper().split("-"))

    def plan(self, messages: int, day: int = 0) -> list[list[bytes]]:
        """Return the right messages of a day, visit by visit, ``messages`` in all."""
        plan: list[list[bytes]] = []
        for visit in visits(self.seed, self.sender, self.code, day):
            visit = visit[: messages - sum(map(len, plan))]
            if not visit:
                return plan
            plan.append(visit)
        return plan

    def troubles(self, messages: int, day: int = 0) -> Iterator[tuple[bytes, Trouble]]:
        """Yield the bad messages that come with so many right ones: each kind at least once."""
        good = list(chain.from_iterable(self.plan(messages, day)))
        for number in range(max(1, messages // _TROUBLE_EVERY)):
            for kind, trouble in enumerate(TROUBLES):
                control_id = f"{self.code}{day:04d}T{number:03d}{kind}"
                message = good[number % len(good)]
                yield spoilt(message, self.charset, control_id, trouble, self.record_bytes), trouble

    def send(
        self,
        host: str,
        port: int,
        messages: int,
        trouble: bool = True,
        day: int = 0,
        connections: int = 1,
        progress: Progress = lambda: None,
        patience_seconds: float = 120.0,
    ) -> Sent:
        """Return what was sent once every message is answered.

        A day's messages are the same however often it is sent. From the second day on a part of the day before is
        sent again, as after a night's catching up; its right messages must have been as many.

        Args:
            host: The listener's address.
            port: Its port.
            messages: Right messages of the day.
            trouble: Whether bad messages and a lost connection are mixed in.
            day: Which day, from 0.
            connections: Connections at a time; the messages of one visit stay in order on one of them.
            progress: Called after each answer.
            patience_seconds: How long one message is tried while nobody listens.

        Raises:
            Undelivered: The listener did not answer for longer than that.
        """
        plan = self.plan(messages, day)
        shares: list[Iterator[bytes]] = [
            chain.from_iterable(plan[number::connections]) for number in range(connections)
        ]
        results: list[Sent | Exception] = []

        def work(share: Iterator[bytes]) -> None:
            try:
                with Delivery(host, port, patience_seconds) as delivery:
                    results.append(_send(delivery, share, progress))
            except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
                results.append(error)

        threads = [Thread(target=work, args=(share,), daemon=True) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = Sent()
        for result in results:
            if isinstance(result, Exception):
                raise result
            sent += result
        with Delivery(host, port, patience_seconds) as delivery:
            sent += self._again(delivery, messages, day, trouble, progress)
        return sent

    def _again(self, delivery: Delivery, messages: int, day: int, trouble: bool, progress: Progress) -> Sent:
        """Send a part of yesterday once more, then the bad ones."""
        sent = Sent()
        if day:
            yesterday = chain.from_iterable(self.plan(messages, day - 1))
            again = _send(delivery, islice(yesterday, 0, None, _AGAIN_EVERY), progress)
            sent += Sent(repeats=again.sealed, answers=again.answers, resent=again.resent)
        if trouble:
            sent += self._trouble(delivery, messages, day, progress)
        return sent

    def _trouble(self, delivery: Delivery, messages: int, day: int, progress: Progress) -> Sent:
        sent = Sent()
        first = next(chain.from_iterable(self.plan(messages, day)))
        delivery.send_part(first, len(first) // 2)
        sent.refused["truncated"] += 1
        again = _send(delivery, iter([first]), progress)  # which it was before, byte for byte
        sent += Sent(repeats=again.sealed, answers=again.answers, resent=again.resent)
        for message, kind in self.troubles(messages, day):
            answer = delivery.send(message)
            progress()
            sent.answers[_code(answer)] += 1
            (sent.refused if kind.at_the_door else sent.set_aside)[kind.reason] += 1
        return sent


def _send(delivery: Delivery, messages: Iterator[bytes], progress: Progress) -> Sent:
    sent, before = Sent(), delivery.resent
    for message in messages:
        sent.answers[_code(delivery.send(message))] += 1
        sent.sealed += 1
        progress()
    sent.resent = delivery.resent - before
    return sent


def _code(answer: bytes) -> str:
    """Return MSA-1."""
    for line in answer.split(b"\r"):
        if line.startswith(b"MSA"):
            return line[4:6].decode("ascii", "replace")
    return "none"


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:  # noqa: ARG001  (as every simulator's)
    """Yield ``HIS_PORT``, to which a hospital sends its test messages as soon as somebody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    hospital = Hospital(20261101, "pilot-his", record_bytes=65_536)
    sender = Thread(target=_patiently, args=(hospital, port), daemon=True)
    sender.start()
    yield {"HIS_PORT": str(port)}


def _patiently(hospital: Hospital, port: int) -> None:
    with suppress(Undelivered):
        hospital.send("127.0.0.1", port, 30, trouble=False, patience_seconds=60.0)
