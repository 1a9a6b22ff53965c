"""Names, addresses and telephones: EN, AD and TEL as HumanName, Address and ContactPoint (HL7 V3 Data Types R1).

Chinese names come whole and are divided only where the table of surnames tells how; Chinese addresses get their
text in the order in which they are written.
"""

from __future__ import annotations

import re
from typing import Final

from normalise.cda.reading import Body, Reading
from normalise.cda.tables import find
from normalise.cda.tree import Node
from normalise.cda.values import period
from normalise.hl7v2.people import han_name

_HAN: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SYSTEMS: Final = {
    "tel": "phone",
    "fax": "fax",
    "mailto": "email",
    "sms": "sms",
    "http": "url",
    "https": "url",
    "ftp": "url",
}
#: Parts of an address that are one line together, in the order of a Western and of a Chinese one.
_STREET: Final = (
    "houseNumber",
    "houseNumberNumeric",
    "direction",
    "streetName",
    "streetNameBase",
    "streetNameType",
    "additionalLocator",
    "unitType",
    "unitID",
    "postBox",
    "deliveryAddressLine",
)
_CHINESE: Final = ("township", "streetName", "houseNumber", "additionalLocator", "unitID")


def human_name(node: Node, reading: Reading) -> Body | None:
    """Return an EN or PN as a HumanName; several uses keep their first."""
    if node.get("nullFlavor") or not node.content:
        return None
    found: Body = {}
    if use := _use(node, "NameUse"):
        found["use"] = use
    parts = {name: [one.text for one in node.all(name) if one.text] for name in ("prefix", "given", "family", "suffix")}
    if not any(parts.values()):
        found |= _whole(node.text)
    else:
        families = " ".join(parts["family"])
        if _HAN.search(families + "".join(parts["given"])):
            found["text"] = "".join((*parts["family"], *parts["given"]))
        if families:
            found["family"] = families
        for name, element in (("given", "given"), ("prefix", "prefix"), ("suffix", "suffix")):
            if parts[element]:
                found[name] = parts[element]
    if (valid := node.first("validTime")) is not None and (span := period(valid, reading)):
        found["period"] = span
    return found if found.keys() - {"use", "period"} else None


def _whole(written: str) -> Body:
    if not written:
        return {}
    divided = han_name(written)
    return {"text": written, "family": divided[0], "given": [divided[1]]} if divided else {"text": written}


def one_line(name: Body) -> str:
    """Return a HumanName on one line: as written when Chinese, else prefix, given, family, suffix."""
    if "text" in name:
        return str(name["text"])
    parts = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())]
    return " ".join(filter(None, parts))


def address(node: Node, reading: Reading) -> Body | None:
    """Return an AD as an Address."""
    if node.get("nullFlavor") and not node.elements():
        return None
    parts = {one.name: one.text for one in reversed(node.elements()) if one.text}
    found: Body = {}
    chinese = bool(_HAN.search("".join(parts.values()) or node.text))
    order = _CHINESE if chinese else _STREET
    street = ("" if chinese else " ").join(parts[one] for one in order if one in parts)
    if chinese and not street:
        street = "".join(parts[one] for one in _STREET if one in parts)
    lines = [one.text for one in node.all("streetAddressLine") if one.text]
    if lines or street:
        found["line"] = lines + ([street] if street else [])
    for name, part in (
        ("city", parts.get("city")),
        ("district", parts.get("county") or parts.get("precinct")),
        ("state", parts.get("state")),
        ("postalCode", parts.get("postalCode")),
        ("country", parts.get("country")),
    ):
        if part:
            found[name] = part
    if chinese and found:
        found["text"] = _in_order(found)
    elif not found and (written := node.own_text):
        found["text"] = written
    if not found:
        return None
    if use := _use(node, "AddressUse"):
        found["use"] = use
    if (valid := node.first("useablePeriod")) is not None and (span := period(valid, reading)):
        found["period"] = span
    return found


def _in_order(found: Body) -> str:
    """Province, city, county, street; a municipality, province and city in one, is written once."""
    state, city = found.get("state", ""), found.get("city", "")
    return f"{state}{city if city != state else ''}{found.get('district', '')}{''.join(found.get('line', ()))}"


def contact_point(node: Node, reading: Reading) -> Body | None:
    """Return a TEL as a ContactPoint; what it is by its scheme (RFC 3966, RFC 6068), else by how it looks."""
    value = node.get("value")
    if node.get("nullFlavor") or not value:
        return None
    match = _SCHEME.fullmatch(value)
    scheme = match[1].lower() if match else ""
    system = _SYSTEMS.get(scheme)
    if match and system and system != "url":
        value = match[2].strip().removeprefix("//") if system == "email" else match[2].strip()
    elif not system:
        system = "email" if "@" in value else "phone" if value[-1:].isdigit() else "other"
    if not value:
        return None
    found: Body = {"system": system, "value": value}
    if use := _use(node, "ContactUse"):
        found["use"] = use
    if (valid := node.first("useablePeriod")) is not None and (span := period(valid, reading)):
        found["period"] = span
    return found


def _use(node: Node, vocabulary: str) -> str:
    for one in node.get("use").split():
        if (term := find(vocabulary, one)) is not None:
            return term.code
    return ""
