"""`xinglin node run`: one institution's node beside its key, until SIGTERM (sections 0 and 8)."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pymongo import MongoClient

from ledger.errors import Halted
from ledger.opening import open_here
from ledger.remote.confinement import check_private, confine, drop_to
from ledger.remote.peers import Peers, group_id
from ledger.remote.server import Bounds, NodeServer
from schemas.errors import ConfigurationError
from schemas.home import Home

log = logging.getLogger(__name__)
LOCK_FILE: Final = "node.lock"
_MAX_PATH: Final = 100  # of a unix socket, on every system


@dataclass(frozen=True, slots=True)
class Settings:
    """How a node process runs.

    Attributes:
        institution: Whose node it is.
        socket: Where it listens.
        user: Whom it becomes where it was started as root.
        group: Whose members reach the socket; None leaves it to the socket's folder.
        workers: Users whose tasks may ask.
        operators: Users who may ask for what a person decides on.
        bounds: What they may cost.
    """

    institution: str
    socket: Path
    user: str | None = None
    group: str | None = None
    workers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)


def run(home: Home, settings: Settings) -> None:
    """Answer on the socket until SIGTERM or SIGINT; answers in hand are finished.

    Raises:
        ConfigurationError: The key could be read by others, or something is missing; nothing was opened.
        Halted: Key, vote store, genesis and replica do not belong together, or a node runs already.
    """
    group = None if settings.group is None else group_id(settings.group)
    drop_to(settings.user, () if group is None else (group,))
    confine()
    peers = Peers.named(settings.workers, settings.operators)
    if os.geteuid() in peers.workers:
        log.warning("the node runs as a user whose tasks may ask it: their code can read its key")
    keys = home.keys(settings.institution)
    if not keys.is_dir():
        raise ConfigurationError(f"no keys of {settings.institution} in {keys.parent}; see docs/node.md")
    check_private(keys, *home.secret_files())
    with only_process(keys):
        node = open_here(home, settings.institution, MongoClient(home.mongodb_uri(), tz_aware=True, appname="xinglin"))
        with listening(settings.socket, group) as listener:
            server = NodeServer(node, listener, peers, settings.bounds)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: server.stop())
            log.info("node of %s: listening, height %d", settings.institution, node.height)
            _tell_systemd("READY=1")
            server.serve()
            _tell_systemd("STOPPING=1")
            server.close()
    log.info("node of %s: stopped", settings.institution)


@contextmanager
def only_process(keys: Path) -> Iterator[None]:
    """Hold the folder of a key, so that no second node and no recovery runs beside this one; Halted where one does."""
    handle = os.open(keys / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Halted("a node of this key is running already; stop it first") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def listening(path: Path, group: int | None) -> Iterator[socket.socket]:
    """Yield a listening socket with mode 0660 in a folder of its own; it is gone afterwards.

    It appears under its name with its final owner and mode, and replaces one that a killed process left.

    Raises:
        ConfigurationError: The path is too long, or others can write to its folder.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ConfigurationError(f"{path}: a socket's path has at most {_MAX_PATH} bytes")
    _own_folder(path.parent, group)
    draft = path.with_name(f".{secrets.token_hex(4)}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(draft))
        try:
            if group is not None:
                os.chown(draft, -1, group)
            draft.chmod(0o660)
            listener.listen(64)
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _own_folder(folder: Path, group: int | None) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o750)
        if group is not None:
            os.chown(folder, -1, group)
        folder.chmod(0o750)
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise ConfigurationError(
            f"{folder}: others can put a socket of theirs there; the folder must be the node's own"
        )


def _tell_systemd(state: str) -> None:
    """Tell the service manager, where there is one that asked to be told (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
