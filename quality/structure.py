"""FHIR R4 structure of one resource, checked fast enough to stand in the path of every resource.

The checker is compiled from what ``fhir.resources`` knows (`quality.definitions`), so it accepts nothing
that the authority refuses; it is stricter where FHIR's JSON is (docs/decisions/0010-structure-checker.md).
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import ErrorDetails, PydanticCustomError, ValidationError
from pydantic_core.core_schema import ValidationInfo

from quality.compiler import TAG, validator
from quality.definitions import is_resource_type
from schemas.records import Refusal

#: Resources inside resources inside … deeper than this are refused rather than followed.
MAX_DEPTH: Final = 16
#: Steps of an element's path that a message shows.
MAX_PATH: Final = 24

_SENTENCES: Final = {
    "bool_type": "true or false was expected",
    "choice": "one element of the choice {name} may stand here, {count} came",
    "dict_type": "an object was expected",
    "empty_object": "an object with content was expected, an empty one came; leave the element out",
    "extra_forbidden": "FHIR R4 defines no such element here; leave it out",
    "finite_number": "a finite number was expected",
    "float_type": "a number was expected",
    "gap": "a null in {name} was expected to have an extension in its place; leave the null out",
    "int_type": "a whole number was expected",
    "invalid_key": "element names are text",
    "list_type": "an array was expected; put the value in brackets",
    "literal_error": "a code of the value set that FHIR binds to this element was expected",
    "long_number": "a whole number of at most 64 bits was expected",
    "missing": "this element is required",
    "missing_element": "the element {name} is required",
    "recursion_loop": "the resource is nested too deeply",
    "resource_type": "the resourceType of a FHIR R4 resource was expected",
    "string_pattern_mismatch": "the text does not have the form of its FHIR type",
    "string_too_long": "the text is longer than its FHIR type allows",
    "string_too_short": "a text with content was expected, an empty one came; leave the element out",
    "string_type": "a text was expected",
    "too_deep": "at most {most} resources may stand inside each other",
    "url_form": "a URL, absolute or relative, was expected",
    "too_short": "an array with content was expected, an empty one came; leave the element out",
}


def check_structure(body: dict[str, Any]) -> Refusal | None:
    """Return None where ``body`` is a structurally valid FHIR R4 resource, else the first fault.

    Checked are element names, cardinality, primitive types with their forms and calendar dates, choices,
    required code bindings and the rules of FHIR's JSON (R4, 2.6.2), in contained and bundled resources too.
    Not checked are invariants, terminology beyond required codes, profiles and whether references point at
    anything.

    Returns:
        A refusal of code ``fhir_structure`` whose ``where`` is the element's path
        (``Observation.value[x]``), or None. The message holds no value of the resource and no element name
        that FHIR does not define.
    """
    try:
        _check(body, 0)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return _refusal(body["resourceType"], faults[0], len(faults) - 1)
    except PydanticCustomError as error:
        return Refusal("fhir_structure", "resourceType", _SENTENCES[error.type])
    return None


def _check(body: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PydanticCustomError("too_deep", "too deep", {"most": MAX_DEPTH})
    kind = body.get("resourceType") if isinstance(body, dict) else None
    if not isinstance(kind, str) or not is_resource_type(kind):
        raise PydanticCustomError("resource_type", "no resource")
    validator(kind, _nested).validate_python(body, context=depth)


def _nested(value: Any, info: ValidationInfo[Any]) -> Any:
    depth: int = info.context
    _check(value, depth + 1)
    return value


def _refusal(resource_type: str, fault: ErrorDetails, more: int) -> Refusal:
    place = fault["loc"]
    if fault["type"] in ("extra_forbidden", "invalid_key"):
        place = place[:-1]  # a name nobody defined may hold anything
    parts = [part for part in place if not str(part).startswith(TAG)]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts[:MAX_PATH])
    sentence = _SENTENCES.get(fault["type"], "the value does not have the form of its FHIR type")
    message = sentence.format(**fault.get("ctx", {})) + (f" ({more} more)" if more else "")
    return Refusal("fhir_structure", f"{resource_type}{path}", message)
