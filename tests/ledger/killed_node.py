"""`xinglin node run` that kills itself before its n-th command to MongoDB or statement to the vote store."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from killed import KilledBefore
from pymongo import monitoring

from ledger.agreement import votes
from ledger.remote.process import Settings, run
from schemas.home import Home


class Killed(KilledBefore):
    """Counts both kinds of step, whichever thread takes them."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.turn = threading.Lock()

    def step(self, *_: object) -> None:
        with self.turn:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.step()


def main() -> None:
    institution, user, last = sys.argv[1:]
    killed = Killed(0)
    monitoring.register(killed)
    connect = votes._connect

    def watched(path):  # type: ignore[no-untyped-def]
        connection = connect(path)
        connection.set_trace_callback(killed.step)
        return connection

    votes._connect = watched
    home = Home.from_environment()
    socket = home.path / "node" / "node.sock"
    threading.Thread(target=begin_counting, args=(socket, killed, int(last)), daemon=True).start()
    run(home, Settings(institution, socket, user=user or None))


def begin_counting(socket: Path, killed: Killed, last: int) -> None:
    """Steps count from the moment the node listens."""
    while not socket.exists() and socket.parent.parent.exists():
        threading.Event().wait(0.01)
    killed.left = last


if __name__ == "__main__":
    main()
