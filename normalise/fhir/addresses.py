"""From the sender's addresses to ours: what a resource is called there, and what a reference points at.

A resource that a server holds is known by the server, its type and its id there: the same in every search, export and
bundle, so that everything which refers to it meets it. One that only a message holds (``urn:uuid``) is known by its
business identifier where it has one, because the next message gives it another address.

Source: FHIR R4, 2.3 (references) and 2.36.4 (resolving them in bundles).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from normalise.errors import set_aside
from normalise.fhir.entries import Held
from normalise.fhir.tables import TYPES
from normalise.ids import id_of, id_within
from normalise.patients import naming, patient_id
from schemas.records import SourceContext

Body = dict[str, Any]

#: ``[base/]Type/id[/_history/version]``
_LITERAL: Final = re.compile(
    r"(?:(?P<base>https?://\S+?)/|/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.\-]{1,64})"
    r"(?P<version>/_history/[A-Za-z0-9.\-]{1,64})?(?P<fragment>#.*)?"
)
#: ``Type?identifier=system|value`` (FHIR R4, 3.1.0.11.3, conditional references)
_CONDITIONAL: Final = re.compile(r"(?P<type>[A-Z][A-Za-z]+)\?identifier=(?:(?P<system>[^|&]*)\|)?(?P<value>[^|&]+)")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
#: System of an identifier whose value is a URI itself.
_URIS: Final = "urn:ietf:rfc:3986"


class Addresses:
    """The names of one record's world.

    Args:
        context: The source; its mapping's ``fhir.server`` names the server for several sources of it, ``fhir.bases``
            are the addresses under which it is known.
    """

    def __init__(self, context: SourceContext) -> None:
        own: Mapping[str, Any] = context.mapping.get("fhir", {})
        self._institution = context.institution
        self._server = str(own.get("server", context.source))
        self._bases = frozenset(str(base).rstrip("/") for base in own.get("bases", ()))
        self._known: dict[str, tuple[str, str]] = {}

    def name(self, one: Held) -> str:
        """Return our id of a resource, and remember its address."""
        type_, sent = one.body["resourceType"], one.body.get("id")
        match = _LITERAL.fullmatch(one.address)
        if match and match["type"] == type_:
            found = self._stored(match["base"], type_, match["id"])
        elif not one.address and isinstance(sent, str):
            found = self._stored(None, type_, sent)
        else:
            found = self._only_sent(one.body, type_, one.address)
        for address in (one.address, f"{type_}/{sent}" if isinstance(sent, str) else ""):
            if address:
                self._known.setdefault(address, (type_, found))
        return found

    def _stored(self, base: str | None, type_: str, id_: str) -> str:
        server = self._server if base is None or base.rstrip("/") in self._bases else base.rstrip("/")
        return id_within(type_, self._institution, server, f"{type_}/{id_}")

    def _only_sent(self, body: Body, type_: str, address: str) -> str:
        identifiers = body.get("identifier")
        listed = [one for one in identifiers if isinstance(one, dict)] if isinstance(identifiers, list) else []
        plain = [one for one in listed if isinstance(one.get("value"), str) and isinstance(one.get("system", ""), str)]
        if type_ in _BY_IDENTIFIER and (by := self.by_identifier(type_, plain)):
            return by
        told = address or hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return id_within(type_, self._institution, self._server, told)

    def by_identifier(self, type_: str, identifiers: list[Body]) -> str | None:
        """Return our id of what these identifiers name; None where they name nothing."""
        if type_ == "Patient":
            return patient_id(identifiers, self._institution)
        one = naming(identifiers)
        return id_of(type_, one.get("system", ""), one["value"], self._institution) if one else None

    def contained(self, container: str, body: Body) -> str:
        """Return our id of a patient that only stands inside another resource."""
        return self._only_sent(body, "Patient", f"{container}#{body.get('id')}")

    def resolve(self, reference: str, around: Held, where: str) -> str | None:
        """Return what a reference says in our terms, ``Type/id``; None where it says nothing that can be resolved.

        Args:
            reference: As sent.
            around: The resource that it stands in.
            where: Its place, for the refusal.

        Raises:
            SetAside: It has no form of a reference, or names no type of resource.
        """
        if reference in self._known:
            return "/".join(self._known[reference])
        match = _LITERAL.fullmatch(reference)
        if match and (match["base"] is None or match["type"] in TYPES):
            return self._literal(match, around, where)
        if match := _CONDITIONAL.fullmatch(reference):
            identifier = {"value": match["value"], **({"system": match["system"]} if match["system"] else {})}
            found = self.by_identifier(_type(match["type"], where), [identifier])
            return f"{match['type']}/{found}" if found else None
        if _URI.fullmatch(reference):
            return None
        raise set_aside("bad_value", where, "Expected a reference of the form Type/id, an address or #id; send one.")

    def _literal(self, match: re.Match[str], around: Held, where: str) -> str:
        type_ = _type(match["type"], where)
        if match["base"] is None and (base := _base(around.address)):
            beside = self._known.get(f"{base}/{type_}/{match['id']}")
            return f"{type_}/{beside[1] if beside else self._stored(base, type_, match['id'])}"
        full = f"{match['base']}/{type_}/{match['id']}" if match["base"] else f"{type_}/{match['id']}"
        if full in self._known:
            return "/".join(self._known[full])
        return f"{type_}/{self._stored(match['base'], type_, match['id'])}"

    @staticmethod
    def logical(reference: str) -> Body:
        """Return the identifier that says the same as an address that cannot be resolved here."""
        match = _CONDITIONAL.fullmatch(reference)
        if match is None:
            return {"system": _URIS, "value": reference}
        return {"value": match["value"], **({"system": match["system"]} if match["system"] else {})}


#: Types that are the same thing in the next message, too, and have an identifier to know them by.
_BY_IDENTIFIER: Final = frozenset(
    ("Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "Device", "HealthcareService")
)


def _base(address: str) -> str | None:
    """Return the server that an entry's address names; its relative references are on the same one."""
    match = _LITERAL.fullmatch(address)
    return match["base"] if match else None


def _type(name: str, where: str) -> str:
    if name not in TYPES:
        raise set_aside("bad_value", where, "Expected a reference to a type of resource of FHIR R4; correct it.")
    return name
