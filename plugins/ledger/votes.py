"""The vote store: what this key has signed, so that it never signs the opposite (section 8).

One SQLite file beside the key. Before a signature exists its bytes are on disk; a repeat gets the stored bytes;
anything behind the last place (height, round, step) is refused. Retries, zombies and doubled tasks become harmless.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ledger.errors import Halted, Refused
from shangmi import PublicKey

PROPOSE = 0  # the steps above it are the vote types of ``ledger.certificate``
_SCHEMA = """
CREATE TABLE owner (public_key BLOB NOT NULL);
CREATE TABLE signed (
    chain_id BLOB, height INTEGER, round INTEGER, step INTEGER,
    message BLOB NOT NULL, payload BLOB NOT NULL, signature BLOB,
    PRIMARY KEY (chain_id, height, round, step)
) WITHOUT ROWID;
CREATE TABLE locks (chain_id BLOB PRIMARY KEY, height INTEGER, qc BLOB NOT NULL) WITHOUT ROWID;
"""
_RECOVERY = (
    "This node will not sign, since it cannot know what the key has signed before. Restore nothing from a backup: "
    "take a new key by governance, or observe until a final height lies above every height the key was seen to sign."
)


class Signer(Protocol):
    """A private key as far as signing goes."""

    @property
    def public(self) -> PublicKey:
        """Its public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return r||s, 64 bytes."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """Where a signature stands: each is given at most once, and only forwards."""

    height: int
    round: int
    step: int


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed: the bytes, what travels with them, the signature."""

    message: bytes
    payload: bytes
    signature: bytes


class VoteStore:
    """The record of one key's signatures.

    Args:
        path: The SQLite file; use ``create`` once, when the key is made, and this ever after.

    Raises:
        Halted: The file is missing or damaged although the key exists.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Halted(f"{path.name}: no vote state beside the key. {_RECOVERY}")
        self._path = path
        self._turn = threading.RLock()
        self._connection = _connect(path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @classmethod
    def create(cls, path: Path, public_key: PublicKey) -> VoteStore:
        """Make the empty record of a new key; the file appears complete or not at all.

        Raises:
            Halted: There is one already.
        """
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600, exist_ok=False)
        with closing(_connect(draft)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO owner VALUES (?)", (public_key.bytes,))
        try:
            os.link(draft, path)
        except FileExistsError:
            raise Halted(f"{path.name}: vote state exists already; it must not begin anew") from None
        finally:
            draft.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name must survive a power cut as well
        finally:
            os.close(folder)
        return cls(path)

    def check_owner(self, public_key: PublicKey) -> None:
        """Raise Halted unless this is the record of that key."""
        with self._transaction() as connection:
            row = connection.execute("SELECT public_key FROM owner").fetchone()
        if row is None or row[0] != public_key.bytes:
            raise Halted(f"{self._path.name}: the vote state belongs to another key. {_RECOVERY}")

    def lock(self, chain_id: bytes, height: int) -> bytes:
        """Return the PrepareQC this key is locked on at a height, or nothing."""
        with self._transaction() as connection:
            return _lock(connection, chain_id, height)

    def last(self, chain_id: bytes) -> Slot | None:
        """Return the last place signed, if any."""
        with self._transaction() as connection:
            return _last(connection, chain_id)

    def find(self, chain_id: bytes, slot: Slot) -> Signed | None:
        """Return what stands at a place; its signature may be empty after a crash."""
        with self._transaction() as connection:
            return _find(connection, chain_id, slot)

    def dump(self) -> list[tuple[Slot, Signed]]:
        """Return everything signed and still kept, in order: for audits and for comparing before and after."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT height, round, step, message, payload, signature FROM signed ORDER BY height, round, step"
            ).fetchall()
        return [(Slot(*row[:3]), Signed(row[3], row[4], row[5] or b"")) for row in rows]

    def sign(
        self,
        chain_id: bytes,
        slot: Slot,
        key: Signer,
        draft: Callable[[bytes], tuple[bytes, bytes]],
        *,
        expected: bytes | None = None,
        lock: bytes = b"",
    ) -> Signed:
        """Return the signature of a place, made now or before.

        Args:
            chain_id: The chain it is for.
            slot: Height, round and step.
            key: Signs; its call comes after the bytes are on disk.
            draft: Given the present lock of the height, returns message and payload, or raises Refused. Not
                called where the place is signed already.
            expected: Where the place is signed already, it must be these bytes; None takes what stands there.
            lock: PrepareQC to be locked on from now on.

        Raises:
            Refused: The place lies behind the last one, or is taken by other bytes. Nothing was written.
            Halted: The file is damaged.
        """
        with self._alone():
            with self._transaction() as connection:
                found = _find(connection, chain_id, slot)
                if found is None:
                    found = self._reserve(connection, chain_id, slot, draft, lock)
                elif expected not in (None, found.message):
                    raise Refused("double vote", "8", "this key has signed other bytes in the same place")
            if not found.signature:
                found = Signed(found.message, found.payload, key.sign(found.message))
                with self._transaction() as connection:
                    connection.execute(
                        "UPDATE signed SET signature = ? WHERE (chain_id, height, round, step) = (?, ?, ?, ?)",
                        (found.signature, chain_id, slot.height, slot.round, slot.step),
                    )
        return found

    @staticmethod
    def _reserve(
        connection: sqlite3.Connection,
        chain_id: bytes,
        slot: Slot,
        draft: Callable[[bytes], tuple[bytes, bytes]],
        lock: bytes,
    ) -> Signed:
        last = _last(connection, chain_id)
        if last is not None and slot <= last:
            raise Refused(
                "order of votes", "8",
                f"this key has gone on to height {last.height}, round {last.round}, step {last.step}",
            )  # fmt: skip
        message, payload = draft(_lock(connection, chain_id, slot.height))
        connection.execute(
            "INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (chain_id, slot.height, slot.round, slot.step, message, payload),
        )
        connection.execute("DELETE FROM signed WHERE chain_id = ? AND height < ?", (chain_id, slot.height))
        if lock:
            connection.execute("REPLACE INTO locks VALUES (?, ?, ?)", (chain_id, slot.height, lock))
        return Signed(message, payload, b"")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's one writer lock; commit and reach the disk on leaving, or leave no trace."""
        connection = self._connection
        try:
            with self._turn:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise Halted(f"{self._path.name}: the vote state cannot be used ({error}). {_RECOVERY}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep every other process of this key out, from the check to the stored signature."""
        with self._turn, self._path.with_suffix(".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=60,
            isolation_level=None,
            check_same_thread=False,  # the store's own lock keeps threads apart
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        raise Halted(f"{path.name}: the vote state cannot be opened ({error}). {_RECOVERY}") from error
    return connection


def _last(connection: sqlite3.Connection, chain_id: bytes) -> Slot | None:
    row = connection.execute(
        "SELECT height, round, step FROM signed WHERE chain_id = ? ORDER BY height DESC, round DESC, step DESC LIMIT 1",
        (chain_id,),
    ).fetchone()
    return Slot(*row) if row else None


def _find(connection: sqlite3.Connection, chain_id: bytes, slot: Slot) -> Signed | None:
    row = connection.execute(
        "SELECT message, payload, signature FROM signed WHERE (chain_id, height, round, step) = (?, ?, ?, ?)",
        (chain_id, slot.height, slot.round, slot.step),
    ).fetchone()
    return Signed(row[0], row[1], row[2] or b"") if row else None


def _lock(connection: sqlite3.Connection, chain_id: bytes, height: int) -> bytes:
    row = connection.execute("SELECT qc FROM locks WHERE chain_id = ? AND height = ?", (chain_id, height)).fetchone()
    return bytes(row[0]) if row else b""
