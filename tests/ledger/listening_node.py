"""A node that listens on a unix socket in this process, and peers that behave as none should."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.node import Node
from ledger.remote.client import RemoteNode
from ledger.remote.peers import Peers
from ledger.remote.process import listening
from ledger.remote.server import Bounds, NodeServer


@contextmanager
def served(node: Node, path: Path, peers: Peers | None = None, bounds: Bounds | None = None) -> Iterator[RemoteNode]:
    """The node answers on a socket; yields a client of it."""
    own = frozenset({os.geteuid()})
    with listening(path, None) as listener:
        server = NodeServer(node, listener, peers or Peers(own, own), bounds or Bounds(seconds=2.0))
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield RemoteNode(path, node.institution, node.genesis.chain_id, patience=1.0, seconds=60.0)
        finally:
            server.stop()
            thread.join()
            server.close(60.0)


@contextmanager
def raw(path: Path) -> Iterator[socket.socket]:
    """A connection on which a test says what it likes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        yield connection
