"""MQTT over TLS: the broker's certificate is checked, the client's key comes from a secret."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from wearables_world import Store, source_of

from connectors.registry import open_listener
from connectors.wearables.mqtt import MqttListener
from schemas.errors import ConfigurationError
from simulators.broker import Broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, the broker's certificate and a client's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    made, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    pem = serialization.Encoding.PEM

    def issue(name: str, signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, signing = signer or (subject, key)
        certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
            .add_extension(x509.KeyUsage(True, *(False,) * 4, signer is None, signer is None, False, False), True)
            .sign(signing, hashes.SHA256())
        )  # fmt: skip
        (made / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        plain = serialization.NoEncryption()
        (made / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return key

    signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]), issue("authority", None))
    for name in ("broker", "client"):
        issue(name, signer)
    return made


def served(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "authority.pem"))
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def opened(folder: Path, port: int, **settings: object) -> MqttListener:
    given = {"host": "localhost", "port": port, "topics": ["a"], "tls": True, **settings}
    made = open_listener(source_of("wearables.mqtt", **given), folder, Store().land_many, lambda _: None, print)
    assert isinstance(made, MqttListener)
    return made


def test_client_with_its_certificate_is_taken_and_others_are_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", (folder / "client.key").read_text())
    own = {"ca": "authority.pem", "certificate": "client.pem", "key_secret": "client-key"}
    with Broker(tls=served(folder)) as broker:
        assert all(one.ok for one in opened(folder, broker.port, **own).check())
        assert not all(one.ok for one in opened(folder, broker.port, ca="authority.pem").check())
        assert not all(one.ok for one in opened(folder, broker.port, **{**own, "ca": None}).check())
        listener = opened(folder, broker.port, **own)

        async def subscribe() -> bool:
            await listener.start()
            found = await asyncio.to_thread(listener.subscribed.wait, 10)
            await listener.stop()
            return found

        assert asyncio.run(subscribe())


def test_key_that_does_not_belong_to_the_certificate_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", (folder / "broker.key").read_text())
    with pytest.raises(ConfigurationError, match="belongs together"):
        opened(folder, 1, certificate="client.pem", key_secret="client-key")
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", "no key")
    with pytest.raises(ConfigurationError, match="belongs together"):
        opened(folder, 1, certificate="client.pem", key_secret="client-key")
