"""Who may ask a node: users of this machine, as the kernel names them, never as they name themselves."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.errors import Refused
from schemas.errors import ConfigurationError

_CREDENTIALS: Final = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class Peers:
    """The users who may connect.

    Attributes:
        workers: Users whose tasks carry bytes.
        operators: Users who may also sign what a person decides on; root and the node's own user are among them.
    """

    workers: frozenset[int]
    operators: frozenset[int]

    @classmethod
    def named(cls, workers: Iterable[str], operators: Iterable[str] = ()) -> Peers:
        """Return the users with these names or numbers, root and this process's own as operators.

        Raises:
            ConfigurationError: No user is called so.
        """
        own = {0, os.geteuid()}
        return cls(frozenset(map(user_id, workers)), frozenset(map(user_id, operators)) | own)

    def admit(self, connection: socket.socket) -> bool:
        """Return whether the user at the other end is an operator.

        Raises:
            Refused: It is nobody who may ask.
        """
        user = peer_of(connection)
        if user in self.operators:
            return True
        if user not in self.workers:
            raise Refused("peer", "0", f"user {user} may not ask this node; its configuration names who may")
        return False


def peer_of(connection: socket.socket) -> int:
    """Return the user id of the process at the other end, as it was when it connected."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def user_id(name: str) -> int:
    """Return the number of a user, given by name or number."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigurationError(f"no user {name!r} on this machine; name one, or give its number") from None


def group_id(name: str) -> int:
    """Return the number of a group, given by name or number."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"no group {name!r} on this machine; name one, or give its number") from None
