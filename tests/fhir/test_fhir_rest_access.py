"""SMART backend services: tokens from a signed assertion, used until they end, renewed once when refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import issue
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from connectors.contract import utc_now
from connectors.errors import Retry, Stop
from connectors.his.fhir_rest import FhirConnector
from simulators.fhir_server import Access, FhirServer, Moods

Connect = Callable[..., FhirConnector]
Pair = tuple[str, str]


def pair(key: Any) -> Pair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def keys() -> dict[str, Pair]:
    return {
        "ES384": pair(ec.generate_private_key(ec.SECP384R1())),
        "RS384": pair(rsa.generate_private_key(65537, 2048)),
    }


@pytest.fixture
def smart(connect: Connect, secret_of: Any, keys: dict[str, Pair]) -> Callable[..., FhirConnector]:
    def make(server: FhirServer, algorithm: str = "ES384", **settings: Any) -> FhirConnector:
        secret_of("fhir-key", keys[algorithm][0])
        given = {"auth": "smart", "client_id": "xinglin", "key_secret": "fhir-key", "algorithm": algorithm, **settings}
        return connect(server.base, **given)

    return make


def access(keys: dict[str, Pair], algorithm: str = "ES384") -> Access:
    return Access("smart", user="xinglin", public_key=keys[algorithm][1])


def count(connector: FhirConnector) -> int:
    return sum(len(page.records) for page in connector.pull())


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_one_token_serves_a_whole_read(smart: Any, keys: dict[str, Pair], algorithm: str) -> None:
    with FhirServer(patients=4, access=access(keys, algorithm)) as server:
        assert count(smart(server, algorithm)) == len(server.current([]))
        assert server.asked["token"] == 1 and not server.asked["unauthorised"]


def test_token_that_the_server_no_longer_takes_is_changed_for_a_new_one(smart: Any, keys: dict[str, Pair]) -> None:
    with FhirServer(patients=4, access=access(keys), moods=Moods(token_requests=3)) as server:
        assert count(smart(server)) == len(server.current([]))
        assert server.asked["token"] > 1
        assert server.asked["unauthorised"] == server.asked["token"] - 1


def test_server_that_refuses_every_token_is_asked_once_more_and_no_more(smart: Any, keys: dict[str, Pair]) -> None:
    with FhirServer(patients=1, access=access(keys)) as server:
        server.admits = lambda header: False  # type: ignore[method-assign]
        with pytest.raises(Stop, match="refuses the credentials"):
            count(smart(server))
        assert server.asked["token"] == 2


def test_export_of_a_server_with_tokens_is_read_with_them(smart: Any, keys: dict[str, Pair]) -> None:
    with FhirServer(patients=3, access=access(keys), moods=Moods(polls=2)) as server:
        assert count(smart(server, mode="bulk")) == len(server.current([]))


def test_wrong_key_or_client_stops_with_what_to_look_at_and_no_secret(
    smart: Any, connect: Connect, secret_of: Any, keys: dict[str, Pair]
) -> None:
    other = pair(ec.generate_private_key(ec.SECP384R1()))[0]
    with FhirServer(patients=1, access=access(keys)) as server:
        for settings, key in (({"client_id": "other"}, keys["ES384"][0]), ({}, other)):
            connector = smart(server, **settings)
            secret_of("fhir-key", key)
            with pytest.raises(Stop, match="token endpoint refused the client") as caught:
                count(connector)
            found = connector.check()
            assert [one.ok for one in found] == [False]
            assert "PRIVATE" not in str(caught.value) + found[0].message
        assert not server.asked["search"]


@pytest.mark.parametrize("key", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_secret_that_is_no_private_key_is_told_without_repeating_it(
    smart: Any, secret_of: Any, keys: dict[str, Pair], key: str
) -> None:
    with FhirServer(patients=1, access=access(keys)) as server:
        connector = smart(server)
        secret_of("fhir-key", key)
        with pytest.raises(Stop, match="no private key for ES384") as caught:
            count(connector)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("skew", [-900, 900])
def test_clocks_apart_are_corrected_for_by_the_servers_own_time(smart: Any, keys: dict[str, Pair], skew: int) -> None:
    with FhirServer(patients=1, access=access(keys)) as server:
        connector = smart(server)
        connector.now = lambda: utc_now() + timedelta(seconds=skew)
        assert count(connector) == len(server.current([]))
        assert server.asked["token"] == 2


def test_server_that_names_no_token_endpoint_is_told_to_the_person_who_can_write_it(
    smart: Any, keys: dict[str, Pair]
) -> None:
    with FhirServer(patients=1, access=access(keys)) as server:
        handler = server._http.RequestHandlerClass
        given = handler._answer  # type: ignore[attr-defined]

        def answer(self: Any, make: Any) -> None:
            if "well-known" in self.path:
                return self._json(404, {})
            return given(self, make)

        handler._answer = answer  # type: ignore[attr-defined]
        with pytest.raises(Stop, match=r"settings\.token_url"):
            count(smart(server))
        assert count(smart(server, token_url=f"{server.origin}/token")) == len(server.current([]))


def test_token_goes_to_no_other_origin(smart: Any, keys: dict[str, Pair]) -> None:
    with FhirServer(patients=2) as files, FhirServer(patients=2, access=access(keys)) as server:
        server.moods.file_origin = files.origin
        with pytest.raises(Stop, match="another origin"):
            count(smart(server, mode="bulk"))
        assert not files.asked["all"]


def test_server_whose_certificate_is_not_trusted_is_refused(connect: Connect, tmp_path: Path) -> None:
    """A TLS server with a certificate of an authority of its own: refused, and taken once that is named."""
    import ssl
    from threading import Thread

    issue(tmp_path, "server")
    server = FhirServer(patients=1)
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server._http.socket = trusted.wrap_socket(server._http.socket, server_side=True)
    server.origin = server.origin.replace("http://", "https://")
    server.base = server.base.replace("http://", "https://")
    Thread(target=server._http.serve_forever, daemon=True).start()
    try:
        with pytest.raises(Stop, match="certificate is not trusted"):
            count(connect(server.base))
        assert count(connect(server.base, ca_file="authority.pem")) == len(server.current([]))
    finally:
        server.stop()


def test_token_endpoint_that_is_down_is_tried_again_later(smart: Any, keys: dict[str, Pair]) -> None:
    with FhirServer(patients=1, access=access(keys)) as server, pytest.raises(Retry):
        count(smart(server, token_url="http://127.0.0.1:9/token", attempts=2))
