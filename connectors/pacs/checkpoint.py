"""Holds an association's own thread while somebody waits for responses, so that it takes none of them.

pynetdicom 3.0 holds it with an Event and a flag. The thread raises the flag just before it waits; where it was let pass
at that very moment, whoever clears the Event sees the flag up and goes on, while the thread takes the next message off
the queue and drops it as unexpected. A study or an object was then missing from a list, without any error. Here who
holds the thread waits until it really stands.
"""

from __future__ import annotations

import threading
from typing import Final

from pynetdicom.association import Association

_LOOK_SECONDS: Final = 0.05


class Checkpoint(threading.Event):
    """Stands in for the Event by which an association's thread is held.

    Args:
        thread: The association, which is its own thread.
    """

    def __init__(self, thread: threading.Thread) -> None:
        super().__init__()
        self._thread, self._turn = thread, threading.Condition()
        self._open, self._stands = True, False

    def is_set(self) -> bool:
        """Say whether the thread may pass."""
        return self._open

    def set(self) -> None:
        """The thread may pass."""
        with self._turn:
            self._open = True
            self._turn.notify_all()

    def clear(self) -> None:
        """The thread stands still, or has ended; where it is the thread itself that asks, it goes on."""
        with self._turn:
            self._open = False
            while not self._stands and self._thread.is_alive() and threading.current_thread() is not self._thread:
                self._turn.wait(_LOOK_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Return once the thread may pass; called by the thread itself, without a timeout."""
        with self._turn:
            while not self._open:
                self._stands = True
                self._turn.notify_all()
                self._turn.wait(timeout)
            self._stands = False
        return True


def hold_firmly(association: Association) -> Association:
    """Return the association; from now on its thread is held without a gap."""
    association._reactor_checkpoint = Checkpoint(association)
    return association
