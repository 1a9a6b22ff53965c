"""Settings of a FHIR server, checked before anything is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

#: What most hospitals' servers hold of a patient, those first that others refer to.
_TYPES: Final = (
    "Organization", "Location", "Practitioner", "Patient", "Encounter", "Condition", "AllergyIntolerance",
    "ServiceRequest", "Specimen", "Observation", "DiagnosticReport", "Procedure", "MedicationRequest", "Immunization",
    "DocumentReference",
)  # fmt: skip
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}", re.ASCII)
_EXPORT: Final = re.compile(r"(?:(?:Patient|Group/[A-Za-z0-9.\-]{1,64})/)?\$export", re.ASCII)
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
#: Settings that each way of signing in needs.
_NEEDED: Final = {
    "none": (),
    "basic": ("user", "password_secret"),
    "bearer": ("token_secret",),
    "smart": ("client_id", "key_secret"),
}


@dataclass(frozen=True, slots=True)
class FhirSettings:
    """Settings of a FHIR R4 server.

    Attributes:
        base: Address of the FHIR endpoint, such as https://his.example.org/fhir; https but on this machine itself.
        types: Resource types that are read, in this order.
        mode: search pages through each type by _lastUpdated; bulk asks for one export of all of them.
        deletions: Whether a search also asks each type's history for what was deleted; an export says it by itself.
        export: What is exported: $export for the whole system, Patient/$export, or Group/ID/$export.
        count: Resources in one page that are asked for; the server may give fewer.
        overlap_minutes: How far behind the newest resource the next read begins, so that late ones are met.
        auth: How to sign in: none, basic, bearer, or smart (OAuth 2.0 client credentials with a signed assertion).
        user: User name of basic.
        password_secret: Name of the secret that holds the password of basic.
        token_secret: Name of the secret that holds the token of bearer.
        client_id: Client id of smart, as the server registered it.
        key_secret: Name of the secret that holds the private key of smart, PEM.
        key_id: Key id (kid) under which the server knows the public key; empty where it needs none.
        algorithm: Signature of smart: RS384 or ES384.
        token_url: Token endpoint of smart; empty to ask the server's .well-known/smart-configuration.
        scope: Scope that smart asks for.
        ca_file: File of the certificate authority that signed the server's certificate, where the system has none.
        allow_http: Whether an address without TLS is taken; only inside a network that nobody else reads.
        file_origins: Other origins at which an export's files may lie, such as https://files.example.org.
        timeout_seconds: How long one answer may take to begin and to go on.
        attempts: How often one request is tried before the run gives up.
        patience_seconds: How long one request waits in all between its attempts, also where the server asks for it.
        backoff_seconds: First wait after a failure; it doubles each time.
        poll_seconds: How long one run waits for an export; the next run asks again.
        answer_bytes: Largest answer that is taken, bytes; files of an export are not limited.
        pages: Pages of one type in one run, at most.
    """

    base: str
    types: tuple[str, ...] = _TYPES
    mode: str = "search"
    deletions: bool = False
    export: str = "$export"
    count: int = 200
    overlap_minutes: float = 10.0
    auth: str = "none"
    user: str = ""
    password_secret: str = ""
    token_secret: str = ""
    client_id: str = ""
    key_secret: str = ""
    key_id: str = ""
    algorithm: str = "RS384"
    token_url: str = ""
    scope: str = "system/*.read"
    ca_file: str | None = None
    allow_http: bool = False
    file_origins: tuple[str, ...] = ()
    timeout_seconds: float = 60.0
    attempts: int = 5
    patience_seconds: float = 120.0
    backoff_seconds: float = 1.0
    poll_seconds: float = 600.0
    answer_bytes: int = 64 * 1024 * 1024
    pages: int = 100_000

    def __post_init__(self) -> None:
        for name, address in (("base", self.base), ("token_url", self.token_url)):
            self._check_address(name, address)
        for address in self.file_origins:
            self._check_address("file_origins", address)
        if not self.types or not all(_TYPE.fullmatch(one) for one in self.types):
            raise ValueError("types must be names of FHIR resource types, such as [Patient, Observation]")
        if self.mode not in ("search", "bulk"):
            raise ValueError("mode must be search or bulk")
        if not _EXPORT.fullmatch(self.export):
            raise ValueError("export must be $export, Patient/$export or Group/ID/$export")
        if self.auth not in _NEEDED:
            raise ValueError(f"auth must be one of {', '.join(_NEEDED)}")
        for name in _NEEDED[self.auth]:
            if not getattr(self, name):
                raise ValueError(f"{name} is missing; auth {self.auth} needs it")
        if self.algorithm not in ("RS384", "ES384"):
            raise ValueError("algorithm must be RS384 or ES384")
        self._check_ranges()

    def _check_address(self, name: str, address: str) -> None:
        if not address and name == "token_url":
            return
        try:
            parts = urlsplit(address)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"{name} is no address; write one such as https://his.example.org/fhir") from None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ValueError(f"{name} is no address; write one such as https://his.example.org/fhir")
        if parts.username or parts.password:
            raise ValueError(f"{name} holds a user; write auth: basic and the name of a secret")
        if parts.scheme == "http" and not self.allow_http and host not in _LOOPBACK:
            raise ValueError(f"{name} is without TLS; write https, or allow_http: true where nobody else reads along")

    def _check_ranges(self) -> None:
        ranges = {
            "count": (1, 10_000), "overlap_minutes": (0, 100_000), "timeout_seconds": (0.1, 3_600), "attempts": (1, 20),
            "patience_seconds": (0, 86_400), "backoff_seconds": (0, 600), "poll_seconds": (0, 86_400),
            "answer_bytes": (1_024, 1 << 30), "pages": (1, 10_000_000),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least} to {most}")
