"""Signing in to a FHIR server: nothing, a password, a token, or SMART backend services.

SMART App Launch 2.1, Backend Services (asymmetric client authentication): a JWT that the private key signed is changed
for a token of some minutes (RFC 7523, RFC 6749 4.4). A token is used until half a minute before it ends. Where the
server's clock and ours differ, the assertion's times are moved by what its Date header says, once.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Final, Protocol

import jwt

from connectors.errors import Retry, Stop
from connectors.his.fhir_settings import FhirSettings

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: Life of an assertion: at most five minutes (SMART).
_ASSERTED: Final = timedelta(minutes=4)
#: A token is not used any more so long before its end.
_EARLY_SECONDS: Final = 30.0
#: Clocks further apart are corrected for.
_APART: Final = timedelta(seconds=20)


class Ask(Protocol):
    """Posts a form, or gets a document where there is none; gives status, headers and the JSON object or ``{}``."""

    def __call__(self, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], Any]:
        """Return what the server answers; Retry where it does not."""


class Access:
    """What lets one connector in.

    Args:
        name: The source's id, for messages.
        settings: How to sign in.
        secret: Returns the secret of a name; asked when it is needed.
        ask: Reaches the token endpoint.
        now: Our clock.
    """

    def __init__(
        self,
        name: str,
        settings: FhirSettings,
        secret: Callable[[str], str],
        ask: Ask,
        now: Callable[[], datetime],
    ) -> None:
        self._name, self._settings, self._secret, self._ask, self._now = name, settings, secret, ask, now
        self._token = ""
        self._ends = 0.0
        self._ahead = timedelta(0)

    def header(self) -> dict[str, str]:
        """Return the Authorization header; a token that ends soon is changed for a new one first."""
        settings = self._settings
        if settings.auth == "none":
            return {}
        if settings.auth == "basic":
            pair = f"{settings.user}:{self._secret(settings.password_secret)}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if settings.auth == "bearer":
            return {"Authorization": f"Bearer {self._secret(settings.token_secret)}"}
        if monotonic() >= self._ends:
            self._sign_in()
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Whether another try may be let in: the token is thrown away, so that the next header has a new one."""
        self._ends = 0.0
        return self._settings.auth == "smart"

    def _sign_in(self) -> None:
        url = self._settings.token_url or self._discovered()
        status, headers, answer = self._ask(url, self._form(url))
        if status in (400, 401) and self._is_apart(headers):
            status, headers, answer = self._ask(url, self._form(url))
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(token, str) or not token:
            raise Stop(
                f"{self._name}: the token endpoint refused the client (HTTP {status}); see that client_id, key_id and "
                "the public key are registered at the server, and that key_secret is its private key"
            )
        life = answer.get("expires_in", 300)
        seconds = float(life) if isinstance(life, int | float) and not isinstance(life, bool) else 300.0
        self._token, self._ends = token, monotonic() + max(1.0, seconds - _EARLY_SECONDS)

    def _discovered(self) -> str:
        """Return the token endpoint that the server names (SMART App Launch 2.1, conformance)."""
        status, _, answer = self._ask(f"{self._settings.base.rstrip('/')}/.well-known/smart-configuration")
        url = answer.get("token_endpoint") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(url, str):
            raise Stop(f"{self._name}: the server names no token endpoint (HTTP {status}); write settings.token_url")
        if url.startswith("http://") and not self._settings.base.startswith("http://"):
            raise Stop(f"{self._name}: the server names a token endpoint without TLS; write settings.token_url")
        return url

    def _form(self, url: str) -> dict[str, str]:
        settings = self._settings
        now = self._now() + self._ahead
        claims = {
            "iss": settings.client_id,
            "sub": settings.client_id,
            "aud": url,
            "jti": str(uuid.uuid4()),
            "exp": int((now + _ASSERTED).timestamp()),
        }
        headers = {"kid": settings.key_id} if settings.key_id else None
        try:
            signed = jwt.encode(claims, self._secret(settings.key_secret), settings.algorithm, headers)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Stop(
                f"{self._name}: the secret that key_secret names is no private key for {settings.algorithm}; expected "
                "PEM, RSA for RS384 or EC P-384 for ES384, without a passphrase"
            ) from None
        return {
            "grant_type": "client_credentials",
            "scope": settings.scope,
            "client_assertion_type": _ASSERTION,
            "client_assertion": signed,
        }

    def _is_apart(self, headers: Mapping[str, str]) -> bool:
        """Whether the server's clock differs from what was assumed; it is corrected for from now on."""
        told = server_time(headers)
        if told is None or abs(told - self._now() - self._ahead) < _APART:
            return False
        self._ahead = told - self._now()
        return True


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the time of an answer's Date header (RFC 9110 6.6.1), or None where it has none."""
    try:
        found = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that an answer asks to wait (RFC 9110 10.2.3), or None where it does not."""
    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.replace(".", "", 1).isdigit():
        return float(told)
    try:
        return max(0.0, (parsedate_to_datetime(told) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def refused_for_long(name: str, seconds: float) -> Retry:
    """Return the error of a server that asks for more patience than there is."""
    return Retry(f"{name}: the server asks to wait {seconds:.0f} s, longer than patience_seconds; run again later")
