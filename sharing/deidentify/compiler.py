"""Compiles the allow-list of a profile to steps: one closure for each element at each place, made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from schemas.errors import ConfigurationError
from sharing.deidentify import elements as whole
from sharing.deidentify import values
from sharing.deidentify.definitions import BUILT_IN, Element, elements, is_type
from sharing.deidentify.objects import as_absent, demanded, each, extension_step, masked, object_step
from sharing.deidentify.profile import Profile
from sharing.deidentify.run import Step

_QUANTITIES: Final = frozenset({"Quantity", "SimpleQuantity", "MoneyQuantity", "Age", "Count", "Distance", "Duration"})
_NUMBERS: Final = frozenset({"decimal", "integer", "positiveInt", "unsignedInt", "integer64"})


def compiled(profile: Profile) -> Mapping[str, Step]:
    """Return for each listed type the step that takes its resources' elements; ids and meta are the caller's.

    Raises:
        ConfigurationError: A rule names an element that FHIR does not have, leaves out one that FHIR demands or that
            changes the meaning of others, or gives a text no class.
    """
    return _compiled(_Key(profile))


class _Key:
    """A profile as a key: equal digests, equal steps."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._key = (profile.digest, repr(sorted(profile.classes.items())))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._key == self._key


@lru_cache(maxsize=8)
def _compiled(key: _Key) -> Mapping[str, Step]:
    return {name: _Compiler(key.profile, name).resource() for name in key.profile.rules["types"]}


class _Compiler:
    """Compiles the rules of one type."""

    def __init__(self, profile: Profile, type_: str) -> None:
        if not is_type(type_):
            raise ConfigurationError(f"rules.yaml: types/{type_}: FHIR R4 has no such type")
        self.profile = profile
        self.type = type_
        self.rule: Mapping[str, Any] = profile.rules["types"][type_]
        self.left_out = set(self.rule.get("left_out", {}))
        for path in self.left_out:
            below, _, name = path.rpartition(".")
            if name not in elements(type_, below):
                raise ConfigurationError(f"rules.yaml: types/{type_}/left_out: FHIR R4 has no element {path}")

    def resource(self) -> Step:
        """Return the step of the whole type."""
        return self._object(self.type, self.type, "", self.rule)

    def _object(self, place: str, type_: str, below: str, rule: Any) -> Step:
        """Return the step of an object: its listed elements, each by its own step."""
        rule = {"keep": rule} if isinstance(rule, list) else rule
        known = elements(type_, below)
        listed = dict(_listed(rule["keep"]))
        self._complete(place, type_, below, known, listed)
        made: list[Step] = []
        steps: dict[str, tuple[str, Step]] = {}
        for name, of in listed.items():
            if name == "extension":
                steps[name] = name, self._extensions(f"{place}.extension", of)
            elif of == "again":
                steps[name] = name, each(f"{place}.{name}", lambda value, run: made[0](value, run))
            elif of in ("masked", "hidden"):
                steps[name] = as_absent(name, known[name]), masked(f"{place}.{name}")
            else:
                steps[name] = name, self._element(f"{place}.{name}", type_, known[name], of)
        made.append(object_step(place, steps, known, rule, demanded(place, type_, known, listed)))
        return made[0]

    def _complete(
        self, place: str, type_: str, below: str, known: Mapping[str, Element], listed: Mapping[str, Any]
    ) -> None:
        """Demand that only FHIR's elements are listed, and all without which the rest is no FHIR, or says otherwise."""
        for name in listed.keys() - known.keys():
            raise ConfigurationError(f"rules.yaml: {place}: FHIR R4 has no element {name} there")
        choices = {known[name].choice for name in listed if known[name].choice}
        for name, element in known.items():
            if name in BUILT_IN or name in listed or element.choice in choices:
                continue
            path = f"{below}.{name}" if below else name
            if element.required or (element.modifier and not (type_ == self.type and path in self.left_out)):
                raise ConfigurationError(f"rules.yaml: {place}: {name} must be listed: FHIR demands it, or it modifies")

    def _element(self, place: str, type_: str, element: Element, of: Any) -> Step:
        """Return the step of one element, for each of its values where it repeats."""
        step = self._value(place, type_, element, of)
        return each(place, step) if element.many else step

    def _value(self, place: str, type_: str, element: Element, of: Any) -> Step:
        if isinstance(of, (list, dict)):
            if element.primitive:
                raise ConfigurationError(f"rules.yaml: {place}: FHIR's {element.type} has no elements")
            own = element.type in ("BackboneElement", "Element")
            return self._object(place, type_ if own else element.type, element.path if own else "", of)
        if of is None:
            return self._by_type(place, element)
        return self._by_class(place, element, of)

    def _by_class(self, place: str, element: Element, of: str) -> Step:
        """Return the step of an element whose class the rule names."""
        profile = self.profile
        text = element.type in ("string", "markdown", "code", "id", "uri", "url", "oid", "base64Binary")
        made: dict[str, Any] = {
            "result": (text, lambda: values.result(place, profile)),
            "text": (text, lambda: values.text(place, profile)),
            "samples": (text, lambda: values.samples(place, profile)),
            "media": (text, lambda: values.media(place)),
            "currency": (text, lambda: _currency(place)),
            "uid": (text, lambda: values.uid(place, profile)),
            "province": (text, lambda: values.place_name(place, "province", profile)),
            "city": (text, lambda: values.place_name(place, "city", profile)),
            "district": (text, lambda: values.place_name(place, "district", profile)),
            "postcode": (text, lambda: values.postcode(place, profile)),
            "country": (text, lambda: values.country(place, profile)),
            "birth": (element.type == "date", lambda: values.birth(place, profile)),
            "age": (element.type in _QUANTITIES, lambda: whole.age(place, profile)),
            "nation": (
                text or element.type == "CodeableConcept",
                lambda: values.nation(place, profile, element.type == "CodeableConcept"),
            ),
        }
        fits, make = made[of]
        if not fits:
            raise ConfigurationError(f"rules.yaml: {place}: class {of} does not fit FHIR's type {element.type}")
        step: Step = make()
        return step

    def _by_type(self, place: str, element: Element) -> Step:
        """Return the step of an element whose FHIR type says its class."""
        kind, profile = element.type, self.profile
        if kind == "boolean":
            return values.flag(place) if profile.action("flag") == "keep" else _dropped(place, profile, "flag")
        if kind in _NUMBERS:
            return values.number(place) if profile.action("number") == "check" else _dropped(place, profile, "number")
        if kind == "code" and element.codes:
            return values.code(place, element.codes)
        if kind in ("date", "dateTime", "instant"):
            return values.event(place, profile, kind == "instant")
        if kind == "time":
            return values.clock(place, profile)
        if kind == "canonical":
            return values.address(place, profile)
        if kind in _QUANTITIES:
            return whole.quantity(place, profile)
        steps = {"Reference": whole.reference, "Identifier": whole.identifier, "CodeableConcept": whole.concept}
        if kind in steps:
            return steps[kind](place, profile)
        if kind == "Coding":
            return whole.coding(place, profile)
        if kind in profile.rules["datatypes"]:
            return self._object(place, kind, "", profile.rules["datatypes"][kind])
        raise ConfigurationError(f"rules.yaml: {place}: say what class its {kind} is of")

    def _extensions(self, place: str, rules: Mapping[str, Any]) -> Step:
        """Return the step of an array of extensions: those listed by their url, with the values listed."""
        known = elements("Extension")
        steps: dict[str, dict[str, Step]] = {}
        for url, keep in rules.items():
            short = f"{place}({url.rpartition(':')[2].rpartition('/')[2]})"
            steps[url] = {
                name: self._element(f"{short}.{name}", "Extension", known[name], of) for name, of in _listed(keep)
            }
        return extension_step(place, steps)


def _listed(keep: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield element and rule of a list; None where the FHIR type decides."""
    for one in keep:
        if isinstance(one, str):
            yield one, None
        else:
            yield from one.items()


def _dropped(place: str, profile: Profile, class_: str) -> Step:
    return values.dropped(place, profile.rule(class_))


def _currency(place: str) -> Step:
    from sharing.deidentify.tables import tables

    return values.listed(place, "currency:listed", tables().currencies.__contains__)
