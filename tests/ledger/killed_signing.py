"""Two lives of a signing process: the first is killed with SIGKILL at its n-th step, the second asks for other bytes.

Each life is a process of its own. Steps are the statements sent to SQLite and, around them, what the key does; n goes
up until the first life ends by itself. What was signed, seen and released is written down as it happens.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

from ledger.agreement.votes import Slot, VoteStore
from ledger.errors import Refused
from shangmi import PrivateKey, PublicKey

CHAIN = bytes(32)
KEY = PrivateKey.from_scalar(bytes(31) + b"\7")
#: What is asked for: place, bytes, lock.
ASKED = (
    (Slot(7, 0, 1), b"PREPARE A", b""),
    (Slot(7, 0, 2), b"COMMIT A", b"the PrepareQC of A"),
    (Slot(8, 0, 1), b"PREPARE of the next height", b""),
)


class Life:
    """One process: kills itself at its n-th step, and writes down what it did until then."""

    def __init__(self, folder: Path, name: str, last: int) -> None:
        self.folder, self.name, self.left = folder, name, last
        self.log = folder / "log"

    def step(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, event: str, slot: Slot, **more: str) -> None:
        line = json.dumps({"life": self.name, "event": event, "slot": [slot.height, slot.round, slot.step], **more})
        with self.log.open("a") as log:
            log.write(line + "\n")

    def run(self, suffix: bytes) -> None:
        store = VoteStore(self.folder / "key.votes")
        store._connection.set_trace_callback(self.step)
        for slot, message, lock in ASKED:
            wanted = message + suffix
            key = WatchedKey(self, slot)
            try:
                self.step()
                signed = store.sign(
                    CHAIN, slot, key, lambda _, it=wanted: (it, b""), expected=wanted, lock=lock and lock + suffix
                )
            except Refused as error:
                self.note("refused", slot, rule=error.rule)
                continue
            self.step()
            self.note("released", slot, message=signed.message.decode(), signature=signed.signature.hex())


class WatchedKey:
    """A key that looks, before it signs, whether its bytes are on disk for everybody to see."""

    def __init__(self, life: Life, slot: Slot) -> None:
        self._life, self._slot = life, slot

    @property
    def public(self) -> PublicKey:
        return KEY.public

    def sign(self, message: bytes) -> bytes:
        self._life.step()
        other = sqlite3.connect(f"file:{self._life.folder / 'key.votes'}?mode=ro", uri=True)
        place = (self._slot.height, self._slot.round, self._slot.step)
        row = other.execute(
            "SELECT message FROM signed WHERE (height, round, step) = (?, ?, ?) AND signature IS NULL", place
        ).fetchone()
        other.close()
        signature = KEY.sign(message)
        seen = "yes" if row == (message,) else "no"
        self._life.note("signed", self._slot, message=message.decode(), on_disk=seen, signature=signature.hex())
        self._life.step()
        return signature


def live(folder: Path, name: str, suffix: bytes, last: int) -> int:
    """Return how a life ended: 0, or minus the signal."""
    child = os.fork()
    if child == 0:
        Life(folder, name, last).run(suffix)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    base = Path(sys.argv[1])
    for last in range(1, 200):
        folder = base / str(last)
        folder.mkdir()
        VoteStore.create(folder / "key.votes", KEY.public).close()
        ended = live(folder, "first", b"", last)
        live(folder, "other bytes", b"!", 0)
        live(folder, "same bytes", b"", 0)
        sys.stdout.write(
            json.dumps({"killed_at": last, "ended": ended, "log": (folder / "log").read_text().splitlines()}) + "\n"
        )
        if ended == 0:
            return


if __name__ == "__main__":
    main()
