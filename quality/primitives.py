"""Shapes of FHIR R4 primitives as pydantic-core schemas (FHIR R4, 2.24.0.1 Primitive Types).

Every pattern is matched against the whole value. Dates are checked down to the calendar: 30 February and 29
February of a common year are refused by the pattern itself, so that no Python code runs for each value.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import PydanticCustomError, core_schema
from pydantic_core.core_schema import CoreSchema

#: FHIR R4: "Strings SHALL NOT exceed 1,048,576 characters".
MAX_STRING: Final = 1_048_576

# Four digits, not 0000; the leap years among them are those whose century or rest divides by four.
_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_MONTH = rf"{_YEAR}-(?:0[1-9]|1[0-2])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_OFFSET = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
# RFC 4648 in groups of four; white space may stand anywhere (FHIR R4, base64Binary).
_BASE64 = r"^\s*(?:(?:[A-Za-z0-9+/]\s*){4})*(?:(?:[A-Za-z0-9+/]\s*){2}(?:=\s*){2}|(?:[A-Za-z0-9+/]\s*){3}=\s*)?$"


def _text(pattern: str, most: int = MAX_STRING) -> CoreSchema:
    return core_schema.str_schema(pattern=pattern, min_length=1, max_length=most, strict=True)


def _whole(least: int, most: int) -> CoreSchema:
    return core_schema.int_schema(ge=least, le=most, strict=True)


def _in_64_bits(value: Any) -> Any:
    """FHIR sets decimals no limit; the JSON that resources are sealed in has no longer integers."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise PydanticCustomError("long_number", "too long")
    return value


_URI = _text(r"^\S+$")
# A string that is white space alone says nothing; FHIR R4 asks for content that is not.
_STRING = _text(r"\S")

PRIMITIVES: Final[dict[str, CoreSchema]] = {
    "base64Binary": core_schema.str_schema(pattern=_BASE64, min_length=1, strict=True),
    "boolean": core_schema.bool_schema(strict=True),
    "canonical": _URI,
    "code": _text(r"^[^\s]+(?:\s[^\s]+)*$"),
    "date": _text(rf"^(?:{_DAY}|{_MONTH}|{_YEAR})$"),
    "dateTime": _text(rf"^(?:{_DAY}(?:T{_CLOCK}{_OFFSET})?|{_MONTH}|{_YEAR})$"),
    "decimal": core_schema.no_info_before_validator_function(
        _in_64_bits, core_schema.float_schema(allow_inf_nan=False, strict=True)
    ),
    "id": _text(r"^[A-Za-z0-9\-.]+$", 64),
    "instant": _text(rf"^{_DAY}T{_CLOCK}{_OFFSET}$"),
    "integer": _whole(-(2**31), 2**31 - 1),
    "integer64": _whole(-(2**63) + 1, 2**63 - 1),
    "markdown": _STRING,
    "oid": _text(r"^urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+$"),
    "positiveInt": _whole(1, 2**31 - 1),
    "string": _STRING,
    "time": _text(rf"^{_CLOCK}$"),
    "unsignedInt": _whole(0, 2**31 - 1),
    "uri": _URI,
    # An absolute URL, or a reference relative to the server, as the authority takes them.
    "url": core_schema.union_schema(
        [
            core_schema.url_schema(strict=False, max_length=MAX_STRING),
            _text(r"^/?[A-Za-z0-9\-.#]+(?:/[^\s?/]+)*"),
        ],
        mode="left_to_right",
        custom_error_type="url_form",
        custom_error_message="no URL",
    ),
    "uuid": _text(r"^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
    "xhtml": _text(r"^\s*<div[\s>]"),
}
