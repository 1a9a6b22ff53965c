"""Names, addresses and telephones: XPN, FN, XAD, SAD and XTN as HumanName, Address and ContactPoint.

Sources: HL7 v2.8.2 chapter 2A; HL7 v2-to-FHIR, XPN[HumanName], XAD[Address], XTN[ContactPoint]. Chinese names
come whole in XPN.1 and are divided only where a table of surnames tells how.
"""

from __future__ import annotations

import re
from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.escapes import components, text
from normalise.hl7v2.tables import SURNAMES, VOCABULARIES
from normalise.hl7v2.times import moment

_HAN: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_HAN_SOMEWHERE: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_COMPOUND: Final = frozenset(SURNAMES["compound"].split())
_SINGLE: Final = frozenset(SURNAMES["single"])
_COUNTY: Final = ("区", "县", "旗", "區", "縣")
_PAD: Final = [""] * 22
_CALLED: Final = "urn:xinglin:fhir:StructureDefinition:called-by"
_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def han_name(whole: str) -> tuple[str, str] | None:
    """Return surname and given name of a Chinese name written whole, or None where the table cannot tell.

    Two to four characters: 欧阳芳 is 欧阳 and 芳, 张媈鑎 is 张 and 媈鑎; 阿卜杜热西提·买买提 stays whole.
    """
    if not 2 <= len(whole) <= 4 or not _HAN.fullmatch(whole):
        return None
    if whole[:2] in _COMPOUND and len(whole) > 2:
        return whole[:2], whole[2:]
    if whole[0] in _SINGLE and len(whole) <= 3:
        return whole[0], whole[1:]
    return None


def human_name(raw: str, building: Building, offset: int = 0) -> Body | None:
    """Return a HumanName of an XPN, or of an XCN with ``offset`` 1 (its name begins one component later)."""
    parts = components(raw)[offset:] + _PAD
    family = text(parts[0].partition("&")[0])
    given = [one for one in parts[1:3] if one]
    name = _written(family, given)
    if not name:
        return None
    if parts[4]:
        name["prefix"] = [parts[4]]
    # XPN.14 and XCN.21 are the professional suffix; the components between differ by the offset's meaning.
    suffix = [one for one in (parts[3], parts[5], parts[13] if not offset else parts[19]) if one]
    if suffix:
        name["suffix"] = suffix
    if not offset and parts[14]:
        name["extension"] = [{"url": _CALLED, "valueString": parts[14]}]
    use_at, start_at = (6, 11) if not offset else (8, 17)
    _put_code(name, "use", "NameUse", parts[use_at])
    written = parts[7 if not offset else 13]
    if written and "text" in name and (representation := VOCABULARIES["NameRepresentation"].find(written)):
        name.setdefault("extension", []).append({"url": _REPRESENTATION, "valueCode": representation.code})
    put_period(name, parts[start_at], parts[start_at + 1], building, parts[9 if not offset else 15])
    return name


def name_text(raw: str, building: Building, offset: int = 0) -> str | None:
    """Return the name of an XPN or XCN on one line."""
    name = human_name(raw, building, offset)
    return one_line(name) if name else None


def one_line(name: Body) -> str:
    """Return a HumanName on one line: as written when Chinese, else prefix, given, family, suffix."""
    if "text" in name:
        return str(name["text"])
    parts = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())]
    return " ".join(filter(None, parts))


def _written(family: str, given: list[str]) -> Body:
    if family and not given and _HAN_SOMEWHERE.search(family):
        divided = han_name(family)
        return {"text": family, "family": divided[0], "given": [divided[1]]} if divided else {"text": family}
    name: Body = {}
    if _HAN_SOMEWHERE.search(family):
        name["text"] = family + "".join(given)
    if family:
        name["family"] = family
    if given:
        name["given"] = given
    return name


def address(raw: str, building: Building) -> Body | None:
    """Return an Address. A Chinese one gets its text in the order it is written: province, city, county, street."""
    parts = components(raw) + _PAD
    lines = [text(one) for one in parts[0].split("&")[:3]]
    found: Body = {}
    county, other = parts[8].partition("&")[0], parts[1]
    if not county and other.endswith(_COUNTY):
        county, other = other, ""
    line = [one for one in (*lines, other, parts[18]) if one]
    if line:
        found["line"] = line
    for name, value in (
        ("city", parts[2]),
        ("district", county),
        ("state", parts[3]),
        ("postalCode", parts[4]),
        ("country", parts[5]),
    ):
        if value:
            found[name] = value
    if not found:
        return None
    written = f"{parts[3]}{parts[2]}{county}{''.join(line)}"
    if _HAN_SOMEWHERE.search(written):
        found["text"] = written
    _put_code(found, "use", "AddressUse", parts[6])
    _put_code(found, "type", "AddressType", parts[6])
    put_period(found, parts[12], parts[13], building, parts[11])
    return found


def contact_point(raw: str, building: Building, use: str = "") -> Body | None:
    """Return a ContactPoint; ``use`` is what the field itself says where XTN.2 is silent."""
    parts = components(raw) + _PAD
    system = VOCABULARIES["ContactSystem"].find(parts[2])
    electronic = (
        parts[2] in ("Internet", "X.400", "NET")
        or parts[1] == "NET"
        or (not parts[0] and not parts[6] and "@" in parts[3])
    )
    value = (parts[3] or parts[0]) if electronic else (parts[11] or parts[0] or _number(parts))
    if not value:
        return None
    found: Body = {"value": value}
    kind = "email" if electronic else system.code if system else "phone" if value[-1].isdigit() else ""
    if kind:
        found["system"] = kind
    if parts[2] == "CP":
        found["use"] = "mobile"
    elif not _put_code(found, "use", "ContactUse", parts[1]) and use:
        found["use"] = use
    put_period(found, parts[12], parts[13], building)
    if parts[17].isascii() and parts[17].isdigit() and 0 < int(parts[17][:9]) < 2**31:
        found["rank"] = int(parts[17][:9])
    return found


def _number(parts: list[str]) -> str:
    """HL7 v2-to-FHIR, XTN.7: country, area, local number and extension on one line."""
    if not parts[6]:
        return ""
    country = f"+{parts[4].lstrip('+')}" if parts[4] else ""
    extension = f"X{parts[7]}" if parts[7] else ""
    return " ".join(filter(None, (country, parts[5], parts[6], extension)))


def _put_code(body: Body, name: str, vocabulary: str, sent: str) -> bool:
    term = VOCABULARIES[vocabulary].find(sent) if sent else None
    if term is not None:
        body[name] = term.code
    return term is not None


def put_period(body: Body, start: str, end: str, building: Building, span: str = "") -> None:
    """The element holds from and until these HL7 times, as far as they are valued and dates; else over the DR."""
    if not start and not end:
        if not span:
            return
        start, _, end = span.partition("&")
    first, last = moment(start, building.zone), moment(end, building.zone)
    period = {name: one.value for name, one in (("start", first), ("end", last)) if one}
    if period:
        body["period"] = period
