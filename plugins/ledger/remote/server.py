"""The node's side of the socket: bounded connections, sizes and times; one question at a time reaches the node."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ledger.errors import LedgerError, Refused, Unreachable
from ledger.node import Node
from ledger.remote.answers import done, failure
from ledger.remote.dispatch import work_of
from ledger.remote.framing import (
    GRACE_SECONDS,
    MAX_MESSAGE,
    Broken,
    Deadline,
    receive_body,
    receive_length,
    send,
)
from ledger.remote.peers import Peers
from ledger.remote.protocol import read_question

log = logging.getLogger(__name__)
_SMALL: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What peers may cost.

    Attributes:
        connections: Served at once; the next one is told to come again.
        held: Bytes of large questions held at once, at least one of the largest.
        seconds: A peer's time to say what it wants, and to wait for room.
        turn_seconds: How long a question may wait for those before it.
    """

    connections: int = 32
    held: int = MAX_MESSAGE
    seconds: float = GRACE_SECONDS
    turn_seconds: float = 300.0


class Room:
    """Memory for large questions, shared by all connections.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int, seconds: float) -> Iterator[None]:
        """Keep room for a question; small ones need none.

        Raises:
            Unreachable: None became free in time.
        """
        size = size if size > _SMALL else 0
        with self._changed:
            if not self._changed.wait_for(lambda: size <= self._left, seconds):
                raise Unreachable("the node is busy with other large questions; ask again")
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


class NodeServer:
    """Answers questions to one node.

    Args:
        node: The institution's node; nobody else in this process uses it meanwhile.
        listener: A bound, listening unix socket; the server closes it.
        peers: Who may ask.
        bounds: What they may cost.
    """

    def __init__(self, node: Node, listener: socket.socket, peers: Peers, bounds: Bounds = Bounds()) -> None:
        self._node, self._listener, self._peers, self._bounds = node, listener, peers, bounds
        self._turn = threading.Lock()
        self._room = Room(bounds.held)
        self._places = threading.BoundedSemaphore(bounds.connections)
        self._active: set[threading.Thread] = set()
        self._closing = threading.Event()

    def serve(self) -> None:
        """Answer until ``stop`` is called from another thread or a signal handler."""
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closing.is_set():
                    return
                time.sleep(0.05)  # out of descriptors, for one: those in hand end soon
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        if not self._places.acquire(blocking=False):
            # Said without waiting for anybody: what does not fit into the socket's buffer is lost.
            connection.settimeout(0)
            with suppress(OSError, LedgerError), connection:
                send(connection, failure(Unreachable("the node has no connection left; ask again")))
            return
        thread = threading.Thread(target=self._serve_one, args=(connection,), name="question", daemon=True)
        self._active.add(thread)
        thread.start()

    def stop(self) -> None:
        """Take no more questions; may be called from a signal handler."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept

    def close(self, seconds: float = 30.0) -> None:
        """Take no more questions, and wait for the answers in hand."""
        self.stop()
        self._listener.close()
        end = time.monotonic() + seconds
        for thread in tuple(self._active):
            thread.join(max(0.0, end - time.monotonic()))

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(Broken):
                self._converse(connection)
        except Exception as error:  # noqa: BLE001  (one peer's trouble ends with its connection)
            log.error("a connection ended: %s", type(error).__name__)
        finally:
            self._active.discard(threading.current_thread())
            self._places.release()

    def _converse(self, connection: socket.socket) -> None:
        """Read one question and answer it, if only with the reason why not."""
        deadline = Deadline(self._bounds.seconds)
        try:
            operator = self._peers.admit(connection)
            length = receive_length(connection, MAX_MESSAGE, deadline)
            with self._room.hold(length, self._bounds.seconds):
                answer = self._answer(receive_body(connection, length, deadline), operator=operator)
        except Broken:
            raise
        except LedgerError as error:
            log.info("a question was refused: %s", error)
            answer = failure(error)
        send(connection, answer)

    def _answer(self, data: bytes, *, operator: bool) -> bytes:
        """Return the answer to a question, whatever it is."""
        node = self._node
        try:
            question = read_question(data)
            if (question.chain_id, question.institution) != (node.genesis.chain_id, node.id):
                raise Refused(
                    "node", "0", f"this is the node of {node.institution} and of one chain; ask the right one"
                )
            work = work_of(question, operator=operator)
            if not self._turn.acquire(timeout=self._bounds.turn_seconds):
                raise Unreachable("the node is busy; ask again")
            try:
                return done(work(node))
            finally:
                self._turn.release()
        except Exception as error:  # noqa: BLE001  (whatever it is, who asked learns what may be said of it)
            log.info("not done: %s", error if isinstance(error, LedgerError) else type(error).__name__)
            return failure(error)
