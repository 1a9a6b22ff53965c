"""The interface over TLS by mounted files, and peers that are only believed behind the right certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from certificates import issue
from region_simulation import AUDITOR, RegionSimulation
from served_region import FREE, served

from ledger.serving.application import make_app
from ledger.serving.server import Listening, make_server, running
from ledger.sync.catching_up import CatchUp
from ledger.sync.peer import Patience, Peer, network

pytestmark = pytest.mark.mongo


def test_a_node_speaks_tls_and_asks_clients_for_a_certificate_where_told_to(
    settled: RegionSimulation, tmp_path: Path
) -> None:
    issue(tmp_path, "server", "client")
    where = Listening(
        port=0, certificate=tmp_path / "server.pem", key=tmp_path / "server.key", client_ca=tmp_path / "authority.pem"
    )
    known = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    own = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    own.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    quick = Patience(connect=2.0, silence=2.0, answer=4.0)
    with running(make_server(make_app(served(settled, AUDITOR), FREE), where)) as port:
        url = f"https://127.0.0.1:{port}"
        assert httpx.get(f"{url}/v1/status", verify=own, trust_env=False).json()["height"] == 2
        for verify in (known, ssl.create_default_context()):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url}/v1/status", verify=verify, trust_env=False)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/v1/status", trust_env=False)
        node = settled.node("nursing-home")
        for context, dropped in ((own, 0), (known, 1)):
            with network(quick, context) as through:
                found = CatchUp(node, [Peer(AUDITOR, url, through)], through).run()
            assert (found.height, len(found.dropped)) == (2, dropped)
