"""The vote store: what this key has signed, so that it never signs the opposite (section 8).

One SQLite file beside the key. Before a signature exists its bytes are on disk; a repeat gets the stored bytes;
anything behind the last place (height, round, step) is refused. Retries, zombies and doubled tasks become harmless.

The order is: persist (place, bytes, lock; one transaction, synced), sign, store the signature, release. A crash before
the sync leaves nothing, and nothing was signed; a crash after it leaves a place that takes the same bytes only.
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

PROPOSE = 0  # the steps above it are the vote types of ``ledger.agreement.certificate``
_FLOOR = 255  # step of the row that a recovery leaves: everything up to its height counts as signed
_LAST_ROUND = 0xFFFFFFFF
_SCHEMA = """
CREATE TABLE owner (public_key BLOB NOT NULL);
CREATE TABLE signed (
    chain_id BLOB, height INTEGER, round INTEGER, step INTEGER,
    message BLOB NOT NULL, payload BLOB NOT NULL, signature BLOB,
    PRIMARY KEY (chain_id, height, round, step)
) WITHOUT ROWID;
CREATE TABLE locks (chain_id BLOB PRIMARY KEY, height INTEGER, qc BLOB NOT NULL) WITHOUT ROWID;
"""
_SIGHTS = """CREATE TABLE IF NOT EXISTS seen (
    chain_id BLOB PRIMARY KEY, height INTEGER, round INTEGER, boot TEXT NOT NULL, since_ms INTEGER NOT NULL
) WITHOUT ROWID"""
_HALTS = "CREATE TABLE IF NOT EXISTS halts (reason TEXT NOT NULL)"
_RECOVERY = (
    "This node will not sign, since it cannot know what the key has signed before. Restore nothing from a backup: "
    "take a new key by governance, or observe until a final height lies above every height the key was seen to sign. "
    "`xinglin node recover` does the second."
)


class Signer(Protocol):
    """A private key, wherever it is kept."""

    @property
    def public(self) -> PublicKey:
        """Its public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return r||s, 64 bytes."""
        ...

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to it; a ShangmiError where nothing was."""
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


@dataclass(frozen=True, slots=True)
class Sight:
    """When this key's node first saw a round open.

    Attributes:
        height: Height of the round.
        round: The round.
        boot: Which start of the machine the time counts from.
        since_ms: Milliseconds from then to the first sight.
    """

    height: int
    round: int
    boot: str
    since_ms: int

    @property
    def place(self) -> tuple[int, int]:
        """Height and round."""
        return self.height, self.round

    def holds_at(self, boot: str, now: int) -> bool:
        """Say whether it can be compared with a moment: one of the same start, and not before it."""
        return boot == self.boot and now >= self.since_ms


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
        opened = path.stat()
        self._file = opened.st_dev, opened.st_ino

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @classmethod
    def create(cls, path: Path, public_key: PublicKey, floor: tuple[bytes, int] | None = None) -> VoteStore:
        """Make the empty record of a new key; the file appears complete or not at all.

        Args:
            path: The file to be.
            public_key: Whose record it is.
            floor: Chain and height up to which nothing may be signed: for a key that was used before, its last
                height at the highest (``ledger.agreement.recovery`` finds it).

        Raises:
            Halted: There is one already, or the log of one, which SQLite would take for the new one's.
        """
        for one in map(path.with_name, (f"{path.name}-wal", f"{path.name}-shm")):
            if one.exists():
                raise Halted(f"{one.name}: left by another vote state; it must not begin anew beside it")
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600, exist_ok=False)
        with closing(_connect(draft)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO owner VALUES (?)", (public_key.bytes,))
            if floor is not None:
                row = (floor[0], floor[1], _LAST_ROUND, _FLOOR, b"", b"", b"")
                connection.execute("INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?, ?)", row)
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

    def knows(self, chain_id: bytes, slot: Slot, message: bytes) -> bool:
        """Say whether this record accounts for a signature that somebody shows.

        Of heights below the last one signed nothing is kept, and nothing can be signed any more: they count as known.
        """
        with self._transaction() as connection:
            last = _last(connection, chain_id)
            if last is None or slot.height > last.height:
                return False
            if slot.height < last.height or _find(connection, chain_id, Slot(slot.height, _LAST_ROUND, _FLOOR)):
                return True
            found = _find(connection, chain_id, slot)
            return found is not None and found.message == message

    def sight(self, chain_id: bytes) -> Sight | None:
        """Return the newest round that was seen open, and since when."""
        with self._transaction() as connection:
            return _sight(connection, chain_id)

    def see(self, chain_id: bytes, seen: Sight) -> None:
        """A round is seen open: its first sight stays unless the machine started since, a later round's in any case."""
        with self._alone(), self._transaction() as connection:
            connection.execute(_SIGHTS)
            before = _sight(connection, chain_id)
            if before is not None and (
                before.place > seen.place or (before.place == seen.place and before.holds_at(seen.boot, seen.since_ms))
            ):
                return
            row = (chain_id, seen.height, seen.round, seen.boot, seen.since_ms)
            connection.execute("REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", row)

    def halt(self, reason: str) -> None:
        """The key signs nothing more, in no process, until a person has recovered it; the first reason stays."""
        with self._alone(), self._transaction() as connection:
            connection.execute(_HALTS)
            if connection.execute("SELECT 1 FROM halts").fetchone() is None:
                connection.execute("INSERT INTO halts VALUES (?)", (reason,))

    def halted(self) -> str | None:
        """Return why this key signs nothing more, or None."""
        with self._transaction() as connection:
            return _halted(connection)

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
            Halted: The file is damaged, was replaced under this process, or the key was halted.
        """
        with self._alone():
            with self._transaction() as connection:
                if reason := _halted(connection):
                    raise Halted(f"{reason}. {_RECOVERY}")
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
        with self._turn:
            handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                self._check_same_file()
                yield
            finally:
                os.close(handle)

    def _check_same_file(self) -> None:
        """Raise Halted where the file was moved away or replaced: this process holds the old one."""
        try:
            standing = self._path.stat()
        except FileNotFoundError:
            raise Halted(f"{self._path.name}: the vote state was taken away under this process. {_RECOVERY}") from None
        if (standing.st_dev, standing.st_ino) != self._file:
            raise Halted(f"{self._path.name}: the vote state was replaced under this process; start the node again")


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


def _halted(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'halts'").fetchone() is None:
        return None
    row = connection.execute("SELECT reason FROM halts").fetchone()
    return None if row is None else str(row[0])


def _sight(connection: sqlite3.Connection, chain_id: bytes) -> Sight | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'seen'").fetchone() is None:
        return None
    row = connection.execute(
        "SELECT height, round, boot, since_ms FROM seen WHERE chain_id = ?", (chain_id,)
    ).fetchone()  # fmt: skip
    return Sight(*row) if row else None


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
