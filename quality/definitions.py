"""FHIR R4 element definitions, read from the models of ``fhir.resources``.

``fhir.resources`` (R4B) is the authority on structure in this house, and about eight times too slow to
stand in the path of every resource. What it knows about each type is read once, and `quality.compiler`
makes a fast checker of it. The two are held together by
``tests/quality/test_quality_structure_agreement.py``.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

#: Required bindings that the models shorten with ``+`` (FHIR R4, value sets of the same name).
_OBSERVATION_STATUS: Final = "registered preliminary final amended corrected cancelled entered-in-error unknown"
_ENCOUNTER_STATUS: Final = "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown"
_FULL_CODES: Final = {
    ("DetectedIssue", "status"): _OBSERVATION_STATUS,
    ("DeviceUdiCarrier", "entryType"): "barcode rfid manual card self-reported unknown",
    ("DeviceUseStatement", "status"): "active completed entered-in-error intended stopped on-hold",
    ("DiagnosticReport", "status"): (
        "registered partial preliminary final amended corrected appended cancelled entered-in-error unknown"
    ),
    ("Encounter", "status"): _ENCOUNTER_STATUS,
    ("EncounterStatusHistory", "status"): _ENCOUNTER_STATUS,
    ("Observation", "status"): _OBSERVATION_STATUS,
    ("RiskAssessment", "status"): _OBSERVATION_STATUS,
    ("SupplyRequest", "status"): "draft active suspended cancelled completed entered-in-error unknown",
    ("Task", "status"): (
        "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed "
        "entered-in-error"
    ),
    # The models have no list for these, although FHIR binds them as strictly.
    **{(name, "comparator"): "< <= >= >" for name in ("Quantity", "Age", "Count", "Distance", "Duration")},
}
#: Lists in the models that FHIR does not bind strictly (mime types, expression languages, guide parameters).
_FREE_CODES: Final = {
    ("CapabilityStatement", "format"),
    ("Expression", "language"),
    ("ImplementationGuideDefinitionParameter", "code"),
}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a FHIR type.

    Attributes:
        name: As in JSON.
        type: A primitive's name in lower camel case (``dateTime``), or a complex type's (``Quantity``).
        many: It repeats, so JSON has an array.
        required: It must be there; a primitive may be there as its ``_name`` with an extension.
        codes: The only values allowed, or empty.
    """

    name: str
    type: str
    many: bool = False
    required: bool = False
    codes: tuple[str, ...] = ()

    @property
    def primitive(self) -> bool:
        """Whether JSON has a plain value for it."""
        return self.type[0].islower()


@dataclass(frozen=True, slots=True)
class Definition:
    """What FHIR says of one type.

    Attributes:
        name: ``Observation``, ``ObservationComponent``, ``Quantity``.
        elements: Every element, without the ``_name`` twins of primitives.
        choices: For each ``name[x]``: the elements of which one at most may stand, and whether one must.
        resource: Whether it is a resource and so carries ``resourceType``.
    """

    name: str
    elements: tuple[Element, ...]
    choices: tuple[tuple[tuple[str, ...], bool], ...]
    resource: bool


@cache
def definition(name: str) -> Definition:
    """Return the definition of one FHIR type.

    Raises:
        KeyError: FHIR R4 has no type of that name.
    """
    model = _model(name)
    required = {element for element, _ in model.get_required_fields(None)}
    fields = [
        (field.alias or key, field)
        for key, field in model.model_fields.items()
        if not key.endswith("__ext") and key != "fhir_comments"
    ]
    elements = tuple(
        Element(
            alias,
            *_type_of(field.annotation),
            required=field.is_required() or alias in required,
            codes=_codes(name, alias, field.json_schema_extra or {}),
        )
        for alias, field in fields
    )
    groups: dict[str, tuple[list[str], bool]] = {}
    for alias, field in fields:
        extra = field.json_schema_extra or {}
        if "one_of_many" in extra:
            groups.setdefault(extra["one_of_many"], ([], extra["one_of_many_required"]))[0].append(alias)
    choices = tuple((tuple(names), must) for names, must in groups.values())
    return Definition(name, elements, choices, model.has_resource_base())


@lru_cache(maxsize=512)  # names come from outside: bounded
def is_resource_type(name: str) -> bool:
    """Whether FHIR R4 has a concrete resource type of that name."""
    try:
        return name not in ("Resource", "DomainResource") and definition(name).resource
    except KeyError:
        return False


def _model(name: str) -> Any:
    from fhir.resources.R4B import fhirtypes
    from fhir_core.constraints import FHIR_TYPES_MAPS

    if f"R4.{name}Type" not in FHIR_TYPES_MAPS:
        raise KeyError(name)
    return getattr(fhirtypes, f"{name}Type").get_model_klass()


def _type_of(annotation: Any) -> tuple[str, bool]:
    """FHIR type and whether it repeats, of a field's annotation."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _type_of(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if origin is list:
        return _type_of(typing.get_args(annotation)[0])[0], True
    if annotation is bool:
        return "boolean", False
    if origin is typing.Annotated:
        return getattr(annotation.__metadata__[-1], "__visit_name__", "uuid"), False
    return annotation.__name__.removesuffix("Type"), False


def _codes(owner: str, name: str, extra: dict[str, Any]) -> tuple[str, ...]:
    if (owner, name) in _FULL_CODES:
        return tuple(_FULL_CODES[owner, name].split())
    values = tuple(extra.get("enum_values", ()))
    return () if "+" in values or (owner, name) in _FREE_CODES else values
