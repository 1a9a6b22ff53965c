"""A FHIR R4 Consent read as a statement, whole or not at all.

A Consent has a base rule (``policyRule``) and provisions as exceptions to it, exceptions to those, and so on; a
statement on the chain has permits minus denials. What both can say stands in ``schemas/consent/fhir.json``; whatever
else a Consent says is refused with its FHIRPath, since to leave it out would widen or narrow the patient's will
(``docs/decisions/0527``). FHIR R4: 6.2 Consent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, MAX_NAMED, Interval, Provision
from sharing.consent.cutting import NEEDS_PERMIT
from sharing.consent.dates import milliseconds, span
from sharing.consent.fhir_table import Table, table
from sharing.consent.parties import Named, Parties
from sharing.errors import Malformed, Refused
from vault.settling import type_numbers

_PATIENT: Final = re.compile(r"(?:https?://\S+/)?Patient/([A-Za-z0-9.\-]{1,64})")
_RULES: Final = frozenset(
    {"resourceType", "status", "scope", "category", "patient", "policyRule", "provision"}
)  # fmt: skip
_PROVISION: Final = frozenset(
    {"id", "type", "period", "actor", "action", "purpose", "class", "dataPeriod", "provision"}
)  # fmt: skip
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Read:
    """What a Consent says.

    Attributes:
        patient: Id of the Patient it names.
        withdrawn: It is no longer in force, and takes all back.
        provisions: What it permits and denies.
    """

    patient: str
    withdrawn: bool
    provisions: tuple[Provision, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One provision as it is written, before it meets those around it."""

    path: str
    type: str
    said: Provision
    names: frozenset[str]
    children: tuple[_Rule, ...] = field(default=())


def read_consent(resource: Mapping[str, Any], holder: str, parties: Parties) -> Read:
    """Return what a Consent says, as a statement for one institution's records.

    Args:
        resource: The resource as JSON.
        holder: Institution that files it, by its id in the region's files.
        parties: Whom it may name.

    Raises:
        Refused: It says what no statement can say; the message begins with the element's FHIRPath.
        Malformed: It is no Consent; likewise.
    """
    return _Reader(table(), holder, parties).consent(_Element("Consent", resource))


class _Element:
    """A JSON value with its FHIRPath."""

    def __init__(self, path: str, value: Any) -> None:
        self.path, self.value = path, value

    def __getitem__(self, name: str) -> _Element:
        return _Element(f"{self.path}.{name}", self.fields.get(name))

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def fields(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            raise Malformed(f"{self.path}: expected an object")
        return self.value

    @property
    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise Malformed(f"{self.path}: expected a text")
        return self.value

    @property
    def each(self) -> list[_Element]:
        """The elements of a list, or none where it is not there."""
        if self.value is None:
            return []
        if not isinstance(self.value, list) or not self.value or len(self.value) > _MOST:
            raise Malformed(f"{self.path}: expected a list of at least one")
        return [_Element(f"{self.path}[{at}]", one) for at, one in enumerate(self.value)]

    @property
    def key(self) -> tuple[str, str]:
        """System and code of a Coding."""
        system, code = (self.fields.get(name) for name in ("system", "code"))
        return (system, code) if isinstance(system, str) and isinstance(code, str) else ("", "")

    def refuse(self, why: str) -> NoReturn:
        raise Refused("fhir-consent", f"{self.path}: {why}")

    def only(self, known: frozenset[str]) -> None:
        """Raise unless every element here is one that is understood."""
        for name in self.fields:
            if name not in known:
                _Element(f"{self.path}.{name}", None).refuse("no statement on the chain can say this; file without it")


class _Reader:
    def __init__(self, known: Table, holder: str, parties: Parties) -> None:
        self._known, self._holder, self._parties = known, holder, parties

    def consent(self, root: _Element) -> Read:
        if root.fields.get("resourceType") != "Consent":
            raise Malformed("Consent.resourceType: expected a FHIR R4 Consent")
        aside = self._known.kept_aside
        root.only(_RULES | aside | {f"_{one}" for one in aside})
        if not self._has(root["scope"], self._known.scopes):
            root["scope"].refuse("only consents to share (scope patient-privacy) are filed")
        categories = root["category"].each
        if not categories:
            raise Malformed("Consent.category: expected at least one")
        for one in categories:
            if not self._has(one, self._known.categories):
                one.refuse("not a category of consents to share; schemas/consent/fhir.json lists them")
        patient = self._patient(root["patient"])
        status = root["status"].text
        if status == "inactive" and not root["provision"]:
            return Read(patient, True, ())
        if status != "active":
            root["status"].refuse(f"expected active, or inactive without provisions; {status} binds nobody")
        return Read(patient, False, tuple(self._statement(root)))

    def _patient(self, reference: _Element) -> str:
        match = _PATIENT.fullmatch(reference["reference"].text)
        if match is None:
            reference["reference"].refuse("expected Patient/ and the id of a Patient here")
        return match[1]

    def _has(self, concept: _Element, wanted: frozenset[tuple[str, str]]) -> bool:
        return any(one.key in wanted for one in concept["coding"].each)

    # --- the tree ----------------------------------------------------------------------------------------------

    def _statement(self, root: _Element) -> list[Provision]:
        base, rule = self._base(root["policyRule"]), None
        if root["provision"]:
            rule = self._rule(root["provision"])
        if base == "silence":
            return self._own(root, rule)
        frame = Provision(base == "permit")
        children: tuple[_Rule, ...] = ()
        if rule is not None and rule.type and rule.type != base:
            children = (rule,)  # the root itself is the exception, as in HL7's own examples
        elif rule is not None:
            self._check_frame(rule)
            frame, children = replace(rule.said, permits=base == "permit"), rule.children
        return self._but_denied(frame, children) if frame.permits else self._but_permitted(frame, children)

    def _base(self, concept: _Element) -> str:
        keys = [one.key for one in concept["coding"].each] if concept else []
        found = {self._known.bases[one] for one in keys if one in self._known.bases}
        if len(found) != 1:
            concept.refuse("expected OPTIN or OPTOUT of v3-ActCode: what holds where no provision speaks")
        return found.pop()

    def _own(self, root: _Element, rule: _Rule | None) -> list[Provision]:
        if rule is None or rule.names - {"provision"} or not rule.children:
            root["provision"].refuse("with the region's own base rule only provisions inside it speak")
        for one in rule.children:
            self._check_leaf(one)
            if not one.type:
                raise Malformed(f"{one.path}.type: expected permit or deny")
        return [one.said for one in rule.children]

    def _check_frame(self, rule: _Rule) -> None:
        if not rule.type and (named := sorted(rule.names & {"actor", "purpose", "class", "action", "dataPeriod"})):
            _Element(f"{rule.path}.{named[0]}", None).refuse(
                "without a type it is open whether this frames the base rule or excepts from it; say type, or put it "
                "into a provision inside"
            )  # fmt: skip

    def _but_denied(self, frame: Provision, children: tuple[_Rule, ...]) -> list[Provision]:
        for one in children:
            self._check_exception(one, "deny")
            self._check_leaf(one)
        return [frame, *(_within(frame, one) for one in children)]

    def _but_permitted(self, frame: Provision, children: tuple[_Rule, ...]) -> list[Provision]:
        """Return permits, what is excepted from them, and denials of all purposes that none of them speaks of.

        Where a permit speaks of a purpose that needs one, silence about the rest forbids it, as the base rule does.
        """
        found: list[Provision] = []
        for one in children:
            self._check_exception(one, "permit")
            inside = _within(frame, one)
            self._check_as_wide(inside, frame, one)
            found.append(inside)
            for exception in one.children:
                self._check_exception(exception, "deny")
                self._check_leaf(exception)
                found.append(_within(inside, exception))
        spoken = {purpose for one in found if one.permits for purpose in one.purposes}
        rest = frame.purposes - spoken
        return [*found, replace(frame, purposes=rest)] if rest else found

    def _check_as_wide(self, inside: Provision, frame: Provision, rule: _Rule) -> None:
        free = inside.purposes - NEEDS_PERMIT
        if free and replace(inside, permits=False, purposes=frame.purposes) != frame:
            _Element(rule.path, None).refuse(
                f"{', '.join(sorted(free))} needs no permit, so a permit narrower than the denial around it would let "
                "everybody in; deny in a provision of its own whom you mean"
            )  # fmt: skip

    def _check_exception(self, rule: _Rule, type_: str) -> None:
        if rule.type != type_:
            _Element(f"{rule.path}.type", None).refuse(f"expected {type_}: an exception to the rule around it")

    def _check_leaf(self, rule: _Rule) -> None:
        if rule.children:
            _Element(rule.children[0].path, None).refuse(
                "an exception to a denial cannot be said: denials count more than permits; narrow the denial instead"
            )  # fmt: skip

    # --- one provision -----------------------------------------------------------------------------------------

    def _rule(self, element: _Element, depth: int = 0) -> _Rule:
        element.only(_PROVISION)
        type_ = element["type"].text if element["type"] else ""
        if type_ not in ("", "permit", "deny"):
            raise Malformed(f"{element.path}.type: expected permit or deny")
        if depth > 3:
            element.refuse("exceptions to exceptions of exceptions cannot be said")
        self._check_actions(element["action"])
        classes, institutions = self._actors(element["actor"], type_ != "deny")
        said = Provision(
            type_ == "permit", self._purposes(element["purpose"]), classes, institutions,
            self._types(element["class"]), _interval(element["period"]), _interval(element["dataPeriod"]),
        )  # fmt: skip
        children = tuple(self._rule(one, depth + 1) for one in element["provision"].each)
        custodian = element["actor"] and not (classes or institutions)
        names = frozenset(element.fields) - {"id", "type"} - ({"actor"} if custodian else set())
        return _Rule(element.path, type_, said, names, children)

    def _purposes(self, codings: _Element) -> frozenset[str]:
        found: set[str] = set()
        for one in codings.each:
            if one.key not in self._known.purposes:
                one.refuse("no purpose of the region, or a narrower or wider one; schemas/consent/fhir.json lists them")
            found |= self._known.purposes[one.key]
        return frozenset(found) or EVERY_PURPOSE

    def _types(self, codings: _Element) -> tuple[int, ...]:
        found = set()
        for one in codings.each:
            system, code = one.key
            if system != self._known.class_system or code not in type_numbers():
                one.refuse(f"expected a resource type of {self._known.class_system}")
            found.add(type_numbers()[code])
        if len(found) > MAX_NAMED:
            codings.refuse(f"{len(found)} types, and a provision names at most {MAX_NAMED}")
        return tuple(sorted(found))

    def _actors(self, actors: _Element, permits: bool) -> Named:
        words: list[str] = []
        for one in actors.each:
            roles = [self._known.roles.get(coding.key) for coding in one["role"]["coding"].each]
            word = self._word(one["reference"])
            if "custodian" in roles:
                if word != self._holder:
                    one.refuse(f"whose records: expected {self._holder}, who files it; others file their own")
            elif "recipient" in roles:
                words.append(word)
            else:
                one["role"].refuse("expected a recipient of information (IRCP, PRCP), or the custodian (CST)")
        try:
            return self._parties.named(words, permits)
        except Refused as error:
            actors.refuse(str(error))

    def _word(self, reference: _Element) -> str:
        if not reference["identifier"]:
            reference.refuse("expected reference.identifier with an institution, class or kind of the region")
        identifier = reference["identifier"]
        kind = self._known.actors.get(identifier["system"].text)
        if kind is None:
            identifier["system"].refuse(f"expected one of {', '.join(self._known.actors)}")
        value = identifier["value"].text
        return f"class:{value}" if kind == "class" else value

    def _check_actions(self, actions: _Element) -> None:
        found = set()
        for one in actions.each:
            if not self._has(one, self._known.actions):
                one.refuse("expected access, disclose or use; what is collected or corrected is not decided here")
            found |= {coding.key[1] for coding in one["coding"].each}
        if found == {"use"}:
            actions.refuse("use without access cannot be permitted or denied by itself")


def _within(frame: Provision, rule: _Rule) -> Provision:
    """Return an exception as far as it lies in what it excepts from."""
    said, path = rule.said, rule.path
    purposes, types = frame.purposes & said.purposes, said.types or frame.types
    if frame.types and said.types:
        types = tuple(sorted(set(frame.types) & set(said.types)))
        if not types:
            _Element(f"{path}.class", None).refuse("nothing of this lies in the rule around it")
    if not purposes:
        _Element(f"{path}.purpose", None).refuse("nothing of this lies in the rule around it")
    classes, institutions = _parties_within(frame, said, path)
    valid, data = (_meeting(getattr(frame, name), getattr(said, name), path) for name in ("valid", "data"))
    return Provision(said.permits, purposes, classes, institutions, types, valid, data)


def _parties_within(frame: Provision, said: Provision, path: str) -> Named:
    if not (said.classes or said.institutions):
        return frame.classes, frame.institutions
    outside = set(said.classes) - set(frame.classes) or set(said.institutions) - set(frame.institutions)
    if (frame.classes or frame.institutions) and outside:
        _Element(f"{path}.actor", None).refuse("names somebody whom the rule around it does not name")
    return said.classes, said.institutions


def _meeting(frame: Interval, said: Interval, path: str) -> Interval:
    found = max(frame[0], said[0]), min(frame[1], said[1])
    if found[0] >= found[1]:
        _Element(path, None).refuse("its times lie outside those of the rule around it")
    return found


def _interval(period: _Element) -> Interval:
    """Return a Period in milliseconds since 1970 UTC; its end is included as far as it is written (R4 2.24.0.12)."""
    if not period:
        return 0, FOREVER
    period.only(frozenset({"id", "start", "end"}))
    start, end = (_ms(period[name], place) for place, name in enumerate(("start", "end")))
    if start is None and end is None:
        raise Malformed(f"{period.path}: expected a start or an end")
    found = max(0, start or 0), FOREVER if end is None else end
    if found[0] >= found[1]:
        raise Malformed(f"{period.path}: it ends before it begins")
    return found


def _ms(element: _Element, place: int) -> int | None:
    if not element:
        return None
    read = span(element.text)
    if read is None:
        raise Malformed(f"{element.path}: expected a date or dateTime")
    return milliseconds(read[place])
