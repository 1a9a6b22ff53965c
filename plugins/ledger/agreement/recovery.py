"""A key whose vote store is lost signs again once that cannot contradict what it signed before (section 8).

A node signs at the height after its replica's head and nowhere else. So nothing was signed beyond the height after the
newest final block that anybody shows now, nor beyond the highest signature of the key that anybody shows. That height
is written down at the first attempt; once a final height lies above it, every place the key can have signed in is final
already, and a new vote store may begin there.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT
from ledger.agreement.following import FinalSource
from ledger.agreement.own_signatures import KeyHolder, certificates_of, highest_signed
from ledger.agreement.votes import VoteStore
from ledger.chain.replica import Replica
from ledger.errors import Behind, Halted, Refused
from ledger.exchange import Exchange
from ledger.node import Node
from shangmi import PublicKey

log = logging.getLogger(__name__)
BAR_FILE: Final = "votes.recovery"
#: Heights of final blocks, newest first, whose certificates are searched for the key's signatures.
_LOOKED_AT: Final = 256
#: Rounds of a height in which votes are looked for.
_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where a recovery stands.

    Attributes:
        final: The newest final height here.
        signed: No signature of the key lies above this height.
        done: A new vote store stands; the key signs nothing up to ``final`` and may sign above it.
    """

    final: int
    signed: int
    done: bool


def recover(path: Path, key: PublicKey, observer: Node, exchange: Exchange, *sources: FinalSource) -> Recovery:
    """Catch up without the key, and begin a new vote store if the key cannot have signed above what is final.

    Nobody else may use the key meanwhile (``ledger.remote.process.only_process``).

    Args:
        path: Where the vote store belongs.
        key: The institution's public key.
        observer: Its node, opened without key and vote store.
        exchange: Where others show votes and final blocks.
        sources: Others who show final blocks.

    Raises:
        Halted: The vote store is sound, or the replica must be looked at first.
    """
    if not _lost(path, key):
        raise Halted(f"{path.name} is sound and belongs to the key: there is nothing to recover")
    try:
        observer.sync(exchange, *sources)
    except (Refused, Behind) as error:
        log.warning("what is shown as the next block is none: %s", error)
    view, chain_id = observer.replica.view, observer.genesis.chain_id
    holder = KeyHolder(chain_id, observer.id, key, view.validators_of)
    final = view.head.height
    shown = highest_signed(_everything_shown(observer.replica, exchange, final), holder)
    signed = _raise_bar(path.with_name(BAR_FILE), chain_id, max(final + 1, shown), shown)
    if final <= signed:
        return Recovery(final, signed, done=False)
    _set_aside(path)
    VoteStore.create(path, key, floor=(chain_id, final)).close()
    path.with_name(BAR_FILE).unlink()
    return Recovery(final, signed, done=True)


def _lost(path: Path, key: PublicKey) -> bool:
    try:
        store = VoteStore(path)
    except Halted:
        return True
    try:
        store.check_owner(key)
        return store.halted() is not None
    except Halted:
        return True
    finally:
        store.close()


def _everything_shown(replica: Replica, exchange: Exchange, final: int) -> Iterator[bytes]:
    """Yield certificates of final blocks, and all that is shown of the heights not final yet."""
    yield from certificates_of(replica, _LOOKED_AT)
    for height in (final + 1, final + 2):
        for round_ in range(_ROUNDS):
            yield from exchange.proposals(height, round_)
            for type_ in (PREPARE, COMMIT, TIMEOUT):
                yield from exchange.votes(height, round_, type_)
                yield from exchange.certificates(height, round_, type_)


def _raise_bar(path: Path, chain_id: bytes, first: int, shown: int) -> int:
    """Return the height that must become final first: as written down before, or higher where a signature shows it."""
    standing = _read_bar(path, chain_id)
    bar = first if standing is None else max(standing, shown)
    if bar != standing:
        content = json.dumps({"chain_id": chain_id.hex(), "signed": bar}).encode()
        _write(path, content)
    return bar


def _read_bar(path: Path, chain_id: bytes) -> int | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise Halted(f"{path.name} cannot be read; remove it, and wait two more blocks") from None
    if not isinstance(found, dict) or found.get("chain_id") != chain_id.hex() or type(found.get("signed")) is not int:
        raise Halted(f"{path.name} is not of this chain; remove it, and wait two more blocks")
    return int(found["signed"])


def _write(path: Path, content: bytes) -> None:
    """The file has this content, also after a power cut; only its owner reads it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _set_aside(path: Path) -> None:
    """The old vote store, if there is one, bears another name; it is kept for whoever looks into what happened."""
    mark = secrets.token_hex(4)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(part.with_name(f"{path.name}.lost-{mark}{suffix}"))
    sync_folder(path.parent)
