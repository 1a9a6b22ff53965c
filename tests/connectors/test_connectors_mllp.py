"""A listener on loopback, and the peers a hospital has: well-behaved, impatient, slow, silent, broken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import issue
from hl7.client import MLLPClient
from hypothesis import given
from hypothesis import strategies as st

from connectors import Stop, open_listener
from connectors.his.hl7v2_mllp import Listener
from connectors.his.mllp import Deframer, Frame, frame
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, Refusal
from schemas.source import Source

Make = Callable[..., Source]


def message(number: int, event: str = "ADT^A01", extra: str = "") -> bytes:
    return f"MSH|^~\\&|HIS|EAST|ESB|DC|20260101||{event}|C{number}|P|2.5\rPID|1||{number}||张三{extra}\r".encode()


class Store:
    """Makes records durable the way the vault does: by content, a repeat is no news."""

    def __init__(self) -> None:
        self.records: dict[bytes, RawRecord] = {}
        self.groups: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.broken = False

    def land_many(self, records: list[RawRecord]) -> list[bool]:
        self.open.wait(20)
        if self.broken:
            raise ConnectionError("no primary")
        self.groups.append(len(records))
        fresh = []
        for one in records:
            fresh.append(one.content not in self.records)
            self.records.setdefault(one.content, one)
        return fresh


def inspect(content: bytes) -> Refusal | None:
    if not content.startswith(b"MSH|"):
        return Refusal("not_hl7", "", "expected MSH")
    if b"|ADT^A01|" not in content:
        return Refusal("unknown_event", "MSH-9", "expected one that is mapped")
    if b"\xff" in content:
        return Refusal("charset", "", "cannot be decoded")
    return Refusal("required", "PID-3", "expected an identifier") if b"PID|1||0" in content else None


class Served:
    """A listener in a thread of its own."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.refused: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(listener.start())
        self.port = listener.port

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.run(self.listener.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for what the listener does by itself."""
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, self.listener.counts
            threading.Event().wait(0.005)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def serve(source_of: Make, store: Store, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(record_bytes: int = 1_000_000, **settings: Any) -> Served:
        refused: list[str] = []
        source = source_of("his.hl7v2_mllp", record_bytes=record_bytes, **{"port": 0, **settings})
        served = Served(open_listener(source, tmp_path, store.land_many, inspect, refused.append))
        served.refused = refused
        running.append(served)
        return served

    yield start
    store.open.set()
    for served in running:
        served.close()


def dial(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=20)


def answers(peer: socket.socket, count: int) -> list[list[str]]:
    """Read ``count`` acknowledgements; each as [MSA-1, MSA-2]."""
    data = b""
    while data.count(b"\x1c\r") < count:
        chunk = peer.recv(65536)
        assert chunk, data
        data += chunk
    blocks = data.split(b"\x1c\r")[:-1]
    assert all(block.startswith(b"\x0bMSH") for block in blocks)
    return [block.decode().split("\rMSA|")[1].split("\r")[0].split("|")[:2] for block in blocks]


def ended(peer: socket.socket) -> bool:
    """Whether the listener closed the connection without another word."""
    try:
        return peer.recv(65536) == b""
    except ConnectionResetError:
        return True


def test_message_is_acknowledged_and_stands_landed(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    with MLLPClient("127.0.0.1", served.port) as client:
        answer = client.send_message(message(1))
    assert b"\rMSA|AA|C1\r" in answer
    (record,) = store.records.values()
    assert (record.source, record.content, record.media) == ("east-lis", message(1), "hl7v2")
    assert record.received_at.utcoffset() is not None
    assert len(record.native_id) == 32


def test_acknowledgement_waits_for_landing(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    store.open.clear()
    with dial(served) as peer:
        peer.sendall(frame(message(1)))
        peer.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        peer.settimeout(20)
        store.open.set()
        assert answers(peer, 1) == [["AA", "C1"]]


def test_repeat_gets_the_same_bytes_and_lands_once(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    got = []
    for _ in range(3):
        with MLLPClient("127.0.0.1", served.port) as client:
            got.append(client.send_message(message(1)))
    assert len(set(got)) == 1
    assert len(store.records) == 1
    assert (served.listener.counts.landed, served.listener.counts.repeats) == (1, 2)


@pytest.mark.parametrize(
    ("content", "code", "control_id"),
    [
        (message(0), "AE", "C0"),
        (message(1, event="ADT^A99"), "AR", "C1"),
        (b"GET / HTTP/1.1\r\n", "AR", ""),
        (b"", "AR", ""),
    ],
)
def test_refused_message_is_answered_and_not_landed(
    serve: Callable[..., Served], store: Store, content: bytes, code: str, control_id: str
) -> None:
    served = serve()
    with dial(served) as peer:
        peer.sendall(frame(content) + frame(message(5)))
        assert answers(peer, 2) == [[code, control_id], ["AA", "C5"]]
    assert list(store.records) == [message(5)]
    assert len(served.refused) == 1


def test_undecodable_message_is_answered_ae_and_kept(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    content = message(3).replace("张".encode(), b"\xff\xfe")
    with dial(served) as peer:
        peer.sendall(frame(content))
        assert answers(peer, 1) == [["AE", "C3"]]
    assert list(store.records) == [content]
    assert served.refused == []


def test_pipelined_messages_are_answered_in_order_and_landed_together(
    serve: Callable[..., Served], store: Store
) -> None:
    served = serve()
    with dial(served) as peer:
        peer.sendall(b"".join(frame(message(number)) for number in range(1, 301)))
        assert answers(peer, 300) == [["AA", f"C{number}"] for number in range(1, 301)]
    assert len(store.records) == 300
    assert len(store.groups) < 60


def test_many_connections_are_landed_in_groups_and_none_is_mixed_up(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    store.open.clear()
    peers = [dial(served) for _ in range(20)]
    for number, peer in enumerate(peers, 1):
        peer.sendall(frame(message(number)))
    served.until(lambda: sum(one.busy for one in served.listener._connections) == 20)
    store.open.set()
    assert [answers(peer, 1) for peer in peers] == [[["AA", f"C{number}"]] for number in range(1, 21)]
    assert sum(store.groups) == 20
    assert len(store.groups) <= 3
    for peer in peers:
        peer.close()


def test_landing_that_fails_closes_without_an_answer_and_the_resent_message_lands(
    serve: Callable[..., Served], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    store.broken = True
    with dial(served) as peer:
        peer.sendall(frame(message(1)))
        assert ended(peer)
    assert store.records == {}
    assert served.listener.counts.failed == 1
    store.broken = False
    with dial(served) as peer:
        peer.sendall(frame(message(1)))
        assert answers(peer, 1) == [["AA", "C1"]]
    assert "张三" not in caplog.text


def test_message_in_single_bytes_with_noise_around_is_read(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    with dial(served) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"noise\r\n" + frame(message(1))[:-1] + frame(message(2)):  # the first lacks the last CR
            peer.send(bytes([byte]))
        assert answers(peer, 2) == [["AA", "C1"], ["AA", "C2"]]
    served.until(lambda: not served.listener._connections)
    assert served.listener.counts.ignored_bytes == 5


def test_oversize_message_is_answered_ar_in_bounded_memory_and_the_next_goes_on(
    serve: Callable[..., Served], store: Store
) -> None:
    served = serve(record_bytes=100_000)
    with dial(served) as peer:
        peer.sendall(b"\x0b" + message(7))
        for _ in range(30):
            peer.sendall(b"x" * 100_000)
            held = sum(one.deframer.held for one in served.listener._connections)
            assert held <= 100_000 + 65_536
        peer.sendall(b"\x1c\r" + frame(message(8)))
        assert answers(peer, 2) == [["AR", "C7"], ["AA", "C8"]]
    assert list(store.records) == [message(8)]
    assert served.refused == ["oversize"]


def test_message_without_end_is_closed_at_many_times_the_limit(serve: Callable[..., Served], store: Store) -> None:
    served = serve(record_bytes=1024)
    with dial(served) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(b"\x0b" + message(7))
        while True:
            peer.sendall(b"x" * 4096)
    served.until(lambda: served.refused == ["oversize"])
    assert store.records == {}


def test_message_cut_by_another_is_answered_ae(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    with dial(served) as peer:
        peer.sendall(b"\x0b" + message(1)[:-9] + frame(message(2)))
        assert answers(peer, 2) == [["AE", "C1"], ["AA", "C2"]]
    assert list(store.records) == [message(2)]
    assert served.refused == ["truncated"]


def test_connection_lost_in_mid_message_lands_nothing(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    with dial(served) as peer:
        peer.sendall(frame(message(1))[:-20])
    served.until(lambda: served.refused == ["truncated"])
    with dial(served) as peer:
        peer.sendall(frame(message(2))[:-20])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of a close
    served.until(lambda: served.refused == ["truncated", "truncated"])
    assert store.records == {}


@pytest.mark.parametrize("sent", [b"", b"noise", frame(message(1))])
def test_silent_peer_is_closed(serve: Callable[..., Served], sent: bytes) -> None:
    served = serve(idle_seconds=0.2)
    with dial(served) as peer:
        peer.sendall(sent)
        if sent.startswith(b"\x0b"):
            assert answers(peer, 1) == [["AA", "C1"]]
        assert ended(peer)
    served.until(lambda: served.listener.counts.timed_out == 1)


def test_slow_sender_is_closed_however_steadily_it_sends(serve: Callable[..., Served], store: Store) -> None:
    served = serve(frame_seconds=0.3)
    with dial(served) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(b"\x0b")
        started = time.monotonic()
        while time.monotonic() - started < 10:
            peer.sendall(b"x")
            threading.Event().wait(0.02)
    served.until(lambda: served.listener.counts.timed_out == 1)
    served.until(lambda: served.refused == ["truncated"])
    assert time.monotonic() - started < 5
    assert store.records == {}


def test_peer_that_never_reads_its_answers_is_closed(serve: Callable[..., Served], store: Store) -> None:
    served = serve(answer_seconds=0.3)
    wordy = message(1).replace(b"|HIS|", b"|" + b"H" * 3000 + b"|")  # comes back in the acknowledgement
    with dial(served) as peer, contextlib.suppress(ConnectionError, TimeoutError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(2)
        while served.listener.counts.timed_out == 0:
            peer.sendall(frame(wordy) * 100)
    served.until(lambda: not served.listener._connections)
    assert served.listener.counts.timed_out == 1
    assert {one.content for one in store.records.values()} == {wordy}
    with dial(served) as other:
        other.sendall(frame(message(2)))
        assert answers(other, 1) == [["AA", "C2"]]


def test_one_connection_too_many_is_turned_away_and_the_others_stay(serve: Callable[..., Served]) -> None:
    served = serve(max_connections=2)
    with dial(served) as one, dial(served) as two:
        served.until(lambda: len(served.listener._connections) == 2)
        with dial(served) as three:
            assert ended(three)
        for peer in (one, two):
            peer.sendall(frame(message(1)))
            assert answers(peer, 1) == [["AA", "C1"]]
    served.until(lambda: not served.listener._connections)
    with dial(served) as four:
        four.sendall(frame(message(2)))
        assert answers(four, 1) == [["AA", "C2"]]
    assert served.listener.counts.turned_away == 1


def test_open_messages_together_stay_within_the_memory_bound(serve: Callable[..., Served], store: Store) -> None:
    served = serve(memory_bytes=300_000)
    peers = [dial(served) for _ in range(10)]
    for peer in peers:
        with contextlib.suppress(ConnectionError):
            peer.sendall(b"\x0b" + b"x" * 90_000)
    served.until(lambda: served.listener.counts.turned_away >= 6)
    held = [one for one in served.listener._connections if one.deframer.held]
    assert sum(one.deframer.held for one in held) <= 300_000
    for peer in peers:
        peer.close()
    served.until(lambda: not served.listener._connections)
    with dial(served) as peer:
        peer.sendall(frame(message(1)))
        assert answers(peer, 1) == [["AA", "C1"]]


def test_fault_of_our_own_closes_one_connection_and_spares_the_others(
    serve: Callable[..., Served], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()

    def faulty(content: bytes) -> Refusal | None:
        if b"C66" in content:
            raise KeyError("张三")
        return None

    served.listener._inspect = faulty
    with dial(served) as peer, dial(served) as other:
        peer.sendall(frame(message(66)))
        assert ended(peer)
        other.sendall(frame(message(2)))
        assert answers(other, 1) == [["AA", "C2"]]
    assert "KeyError" in caplog.text
    assert "张三" not in caplog.text
    assert list(store.records) == [message(2)]


def test_stop_finishes_the_message_in_hand_and_closes_the_idle(serve: Callable[..., Served], store: Store) -> None:
    served = serve()
    store.open.clear()
    with dial(served) as busy, dial(served) as idle, dial(served) as half:
        busy.sendall(frame(message(1)))
        half.sendall(frame(message(2))[:-10])
        served.until(lambda: [one.busy for one in served.listener._connections].count(True) == 1)
        stopping = asyncio.run_coroutine_threadsafe(served.listener.stop(), served.loop)
        assert ended(idle)
        assert ended(half)
        assert not stopping.done()
        store.open.set()
        assert answers(busy, 1) == [["AA", "C1"]]
        assert ended(busy)
        stopping.result(20)
    assert list(store.records) == [message(1)]
    with pytest.raises(ConnectionRefusedError):
        dial(served)


#: A listener as a process of its own: it keeps what lands in a file, and waits for a line before it acknowledges.
SERVER = """
import asyncio, os, sys
from pathlib import Path
from connectors import open_listener
from connectors.his.hl7v2_mllp import serve
from schemas.source import load_source

store = Path(sys.argv[2])

def land_many(records):
    kept = store.read_text().split() if store.exists() else []
    new = [one.content.hex() not in kept for one in records]
    with store.open("a") as stream:
        stream.writelines(one.content.hex() + "\\n" for one, fresh in zip(records, new) if fresh)
        stream.flush()
        os.fsync(stream.fileno())
    print("landed", flush=True)
    sys.stdin.readline()
    return new

listener = open_listener(load_source(Path(sys.argv[1])), Path("."), land_many, lambda content: None, print)
asyncio.run(serve([listener], lambda: print(listener.port, flush=True)))
print("stopped", listener.counts.landed, flush=True)
"""


@contextlib.contextmanager
def server(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    script, source = folder / "server.py", folder / "east-his.yaml"
    script.write_text(SERVER)
    source.write_text(
        "{id: east-his, institution: hospital-east, kind: his.hl7v2_mllp, time_zone: Asia/Shanghai, "
        f"settings: {{port: {port}}}}}"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script), str(source), str(folder / "store")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        yield process, int(line(process))


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_sigterm_finishes_the_message_in_hand(tmp_path: Path) -> None:
    with server(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(frame(message(1)))
        assert line(process) == "landed"
        process.send_signal(signal.SIGTERM)
        go_on(process)
        assert answers(peer, 1) == [["AA", "C1"]]
        assert line(process) == "stopped 1"
        assert process.wait(20) == 0


def test_kill_between_landing_and_answer_leaves_the_message_with_its_sender_and_landed_once(tmp_path: Path) -> None:
    with server(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(frame(message(1)))
        assert line(process) == "landed"
        process.kill()
        assert ended(peer)
    with server(tmp_path, port) as (process, port), socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(frame(message(1)))
        assert line(process) == "landed"
        go_on(process)
        assert answers(peer, 1) == [["AA", "C1"]]
        process.terminate()
        assert line(process) == "stopped 0"  # it was there already
    assert (tmp_path / "store").read_text().split() == [message(1).hex()]


def test_port_in_use_stops_with_a_sentence(serve: Callable[..., Served], source_of: Make, tmp_path: Path) -> None:
    served = serve()
    other = open_listener(source_of("his.hl7v2_mllp", port=served.port), tmp_path, Store().land_many, inspect, print)
    with pytest.raises(Stop, match="free the port"):
        served.run(other.start())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's authority, the listener's certificate and a client's, both signed by it."""
    return issue(tmp_path_factory.mktemp("tls"), "listener", "client")


def test_tls_with_a_clients_certificate_is_served_and_others_are_not(
    serve: Callable[..., Served], store: Store, certificates: Path
) -> None:
    served = serve(
        certificate=str(certificates / "listener.pem"),
        key=str(certificates / "listener.key"),
        client_ca=str(certificates / "authority.pem"),
    )
    context = ssl.create_default_context(cafile=str(certificates / "authority.pem"))
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        dial(served) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as anonymous,
    ):
        anonymous.sendall(frame(message(1)))
        assert anonymous.recv(1) == b""
    with dial(served) as plain, contextlib.suppress(ConnectionError):
        plain.sendall(frame(message(1)))
        assert b"MSH" not in plain.recv(100)
    assert store.records == {}
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with dial(served) as raw, context.wrap_socket(raw, server_hostname="localhost") as peer:
        peer.sendall(frame(message(2)))
        assert answers(peer, 1) == [["AA", "C2"]]
    assert list(store.records) == [message(2)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "port is missing"),
        ({"port": 70000}, "port must be"),
        ({"port": "26575"}, "port: expected int, got str"),
        ({"port": 0, "max_connections": 0}, "max_connections must be"),
        ({"port": 0, "idle_seconds": 0}, "must be above 0"),
        ({"port": 0, "certificate": "a.pem"}, "go together"),
        ({"port": 0, "client_ca": "a.pem"}, "client_ca needs"),
        ({"port": 0, "certificate": "secret-a.pem", "key": "secret-b.pem"}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_used_are_named_without_their_values(
    source_of: Make, tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        open_listener(source_of("his.hl7v2_mllp", **settings), tmp_path, Store().land_many, inspect, print)
    assert "secret" not in str(caught.value)


@given(st.lists(st.binary(max_size=60).map(lambda b: b.translate(None, b"\x0b\x1c")), max_size=8), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(contents: list[bytes], cut: int) -> None:
    data = b"".join(frame(one) for one in contents)
    deframer = Deframer(60)
    found = [one for at in range(0, len(data), cut) for one in deframer.feed(data[at : at + cut])]
    assert found == [Frame(one) for one in contents]
    assert (deframer.in_frame, deframer.ignored, deframer.held) == (False, 0, 0)


@given(st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"abc", b"x" * 50]), max_size=40), st.integers(1, 30))
def test_any_bytes_give_the_same_frames_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    whole, slices = Deframer(40), Deframer(40)
    expected = whole.feed(data)
    found = [one for at in range(0, len(data), cut) for one in slices.feed(data[at : at + cut])]
    assert [(one.content[:40], one.fault) for one in found] == [(one.content[:40], one.fault) for one in expected]
    assert (slices.in_frame, slices.ignored) == (whole.in_frame, whole.ignored)
