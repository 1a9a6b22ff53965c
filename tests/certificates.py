"""Certificates for servers and clients of the tests: an authority of a day, and what it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

AUTHORITY = "authority"


def issue(folder: Path, *names: str) -> Path:
    """The folder holds ``authority.pem`` and, signed by it, a ``.pem`` and a ``.key`` for each name; returns it.

    All of them are valid for localhost and 127.0.0.1, from yesterday until tomorrow.
    """
    signing = ec.generate_private_key(ec.SECP256R1())
    _write(folder, AUTHORITY, signing, signing)
    for name in names:
        _write(folder, name, ec.generate_private_key(ec.SECP256R1()), signing)
    return folder


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, signing: ec.EllipticCurvePrivateKey) -> None:
    own, now = key is signing, datetime.now(UTC)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder().subject_name(_called(name)).issuer_name(_called(AUTHORITY))
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, *(False,) * 4, own, own, False, False), critical=True)
        .sign(signing, hashes.SHA256())
    )  # fmt: skip
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
