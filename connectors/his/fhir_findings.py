"""What looking at a FHIR server tells: version, rights for each type, clock. Nothing of its content is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from connectors.contract import Finding
from connectors.errors import ConnectorError
from connectors.his.fhir_access import server_time
from connectors.his.fhir_client import Answer, FhirClient
from schemas.errors import ConfigurationError

#: FHIR R4 and R4B (4.1.0 and 4.3.0-ballot were never releases).
_R4: Final = re.compile(r"4\.(?:0|3)\.\d+")
#: Clocks further apart than this make watermarks and tokens go wrong, seconds.
_APART: Final = 60


def findings(client: FhirClient, now: Callable[[], datetime]) -> tuple[Finding, ...]:
    """Return what can be told of the server; no fault of it is raised."""
    try:
        answer, statement = client.json(f"{client.settings.base.rstrip('/')}/metadata")
    except (ConnectorError, ConfigurationError) as error:
        return (Finding("connection", False, str(error)),)
    return (
        *_connection(answer, statement, client),
        _clock(answer, now),
        Finding("charset", True, "FHIR's JSON is UTF-8"),
        *_rights(client),
        *_content(statement, client),
    )


def _connection(answer: Answer, statement: Any, client: FhirClient) -> Iterator[Finding]:
    kind = statement.get("resourceType") if isinstance(statement, dict) else None
    if answer.status != 200 or kind != "CapabilityStatement":
        told = f"expected a CapabilityStatement at metadata, got HTTP {answer.status}; correct settings.base"
        yield Finding("connection", False, told)
        return
    version = str(statement.get("fhirVersion", ""))
    if not _R4.fullmatch(version):
        shown = version if re.fullmatch(r"[0-9A-Za-z.\-]{1,20}", version) else "none"
        yield Finding("connection", False, f"expected FHIR 4.0 or 4.3, the server says {shown}; name its R4 endpoint")
        return
    yield Finding("connection", True, f"FHIR {version} answers over {client.settings.base.partition(':')[0]}")


def _clock(answer: Answer, now: Callable[[], datetime]) -> Finding:
    told = server_time(answer.headers)
    if told is None:
        return Finding("clock", True, "the server does not say its time; watermarks are its own lastUpdated")
    apart = (told - now()).total_seconds()
    if abs(apart) > _APART:
        return Finding("clock", False, f"the server's clock is {apart:+.0f} s from ours; synchronise both by NTP")
    return Finding("clock", True, f"the server's clock is {apart:+.0f} s from ours")


def _rights(client: FhirClient) -> Iterator[Finding]:
    """Each type can be counted; for an export it is enough that the server lets us in."""
    refused = []
    for type_ in client.settings.types:
        try:
            answer = client.get(
                f"{client.settings.base.rstrip('/')}/{type_}?{urlencode({'_summary': 'count'})}",
                {"Accept": "application/fhir+json"},
            )
        except (ConnectorError, ConfigurationError) as error:
            if "HTTP 403" not in str(error):
                yield Finding("rights", False, str(error))
                return
            refused.append(type_)
            continue
        if answer.status != 200:
            refused.append(type_)
    if refused:
        yield Finding("rights", False, f"no right to read {', '.join(refused)}; have it granted, or leave them out")
    else:
        yield Finding("rights", True, f"{len(client.settings.types)} types can be read (auth {client.settings.auth})")


def _content(statement: Any, client: FhirClient) -> Iterator[Finding]:
    """The server offers what is read: the types, ``_lastUpdated``, the export."""
    rest = statement.get("rest") if isinstance(statement, dict) else None
    offers = [one for one in rest if isinstance(one, dict)] if isinstance(rest, list) else []
    listed = [one for offer in offers for one in offer.get("resource", ()) if isinstance(one, dict)]
    missing = [one for one in client.settings.types if one not in {each.get("type") for each in listed}]
    if missing:
        yield Finding("content", False, f"the server does not offer {', '.join(missing)}; leave them out of types")
    if client.settings.mode == "bulk":
        named = {str(one.get("name", "")).strip("$") for offer in offers for one in _operations(offer, listed)}
        if not any("export" in name for name in named):
            yield Finding("content", False, "the server does not offer $export; write mode: search")
    if not missing:
        yield Finding("content", True, f"the server offers {len(listed)} types")


def _operations(offer: dict[str, Any], listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [*offer.get("operation", ()), *(one for each in listed for one in each.get("operation", ()))]
    return [one for one in found if isinstance(one, dict)]
