"""What our bundles say against what another converter says of the same messages (corpora/hl7v2/ms).

    python benchmarks/hl7v2_facts.py [--type ADT] [--missing] [--extra] [--all] [--quick]

A fact is one of eight kinds (identifier, name, birth date, gender, code, value with its unit, date, reference) in one
type of resource: ``identifier Patient.identifier 4000776``. Recall is the share of the other's facts that our bundle of
the same message holds, precision the share of ours that the other's holds. Both compare what is said, not how it is
written: times as instants, numbers as numbers, a reference by what it points at. Identifier and code systems, ids,
displays and narrative are made by each converter in its own way and are no facts.

Where we differ on purpose stands in ``hl7v2_facts_deviations.csv``, a rule with its reason each; the facts that a rule
names leave the count, and the figures with and without the rules are printed side by side. That a rule hides no loss is
checked fact by fact: what the message itself holds and our bundle says nowhere is counted as dropped. ``--missing`` and
``--extra`` list what is left; ``--all`` lists what the rules took out too. Beside it: how often our counts of resources
equal those that LinuxForHealth's own tests assert (corpora/hl7v2/lfh).
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from report import CORPORA, need_corpora, options, table, write

from normalise.errors import SetAside
from normalise.hl7v2 import MAPPING, convert
from schemas.records import SourceContext

RULES = Path(__file__).with_name("hl7v2_facts_deviations.csv")
#: The least that is asked of us (issue 3).
RECALL, PRECISION = 0.95, 0.98
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")
#: Written by each converter in its own way.
_OWN = {"id", "meta", "text", "resourceType", "contained", "display", "system", "url", "div", "_recorded", "assigner"}
#: Codes that stand in an element of their own.
_CODES = {"status", "docStatus", "intent", "priority", "severity", "criticality", "category", "type", "when"}
#: Who refers to an Organization that is known only as the sender or receiver of the message.
_CARRYING = ("MessageHeader.", "Organization.partOf", "Provenance.agent")
#: Elements of FHIR whose texts are values.
_VALUES = ("valueString", "valueInteger", "valueBoolean", "valueTime", "valueDecimal")


class Fact(NamedTuple):
    """One thing that a bundle says."""

    kind: str
    type: str
    element: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind:10} {self.type}.{self.element} {self.value[:100]}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One deviation on purpose: whose fact it is about, which facts, in which messages, and why.

    Attributes:
        side: ``theirs`` (they say it, we do not) or ``ours`` (we say it, they do not).
        kind, type, element, value, message: Regular expressions that match whole; ``""`` matches anything.
        reason: Why it is on purpose.
    """

    side: str
    kind: re.Pattern[str]
    type: re.Pattern[str]
    element: re.Pattern[str]
    value: re.Pattern[str]
    message: re.Pattern[str]
    reason: str

    def names(self, fact: Fact, message: str) -> bool:
        """Whether the rule is about this fact of this message."""
        return bool(
            self.kind.fullmatch(fact.kind)
            and self.type.fullmatch(fact.type)
            and self.element.fullmatch(fact.element)
            and self.value.fullmatch(fact.value)
            and self.message.fullmatch(message)
        )


def read_rules(path: Path = RULES) -> list[Rule]:
    """Return the deviations on purpose.

    Raises:
        ValueError: A rule has no reason, or no side.
    """
    found = []
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["side"] not in ("ours", "theirs") or not row["reason"]:
                raise ValueError(f"{path.name}: a rule needs a side and a reason: {row}")
            kind, type_, element, value, message = (
                re.compile(row[name] or ".*", re.DOTALL) for name in ("kind", "type", "element", "value", "message")
            )
            found.append(Rule(row["side"], kind, type_, element, value, message, row["reason"]))
    return found


class Bundle:
    """The resources of one bundle, and what each is known by."""

    def __init__(self, resources: Iterable[dict[str, Any]]) -> None:
        self.resources = list(resources)
        self._by_id = {f"{one['resourceType']}/{one.get('id')}": one for one in self.resources}
        self._referring: dict[str, set[str]] = {}
        for one in self.resources:
            for element, reference in _references(one["resourceType"], one):
                if not element.startswith("Provenance.target"):  # it is about every resource
                    self._referring.setdefault(reference, set()).add(element)

    def facts(self) -> set[Fact]:
        """Return everything that the bundle says."""
        return {fact for one in self.resources for fact in self._of(one)}

    def _of(self, resource: dict[str, Any]) -> Iterator[Fact]:
        type_ = self._role(resource)
        for name, value in resource.items():
            if name not in _OWN:
                yield from (Fact(kind, type_, element, said) for kind, element, said in self._walk(name, name, value))

    def _role(self, resource: dict[str, Any]) -> str:
        """The type, and for an Organization that only assigns numbers or carries messages, what it is there for."""
        type_: str = resource["resourceType"]
        referring = self._referring.get(f"{type_}/{resource.get('id')}", set())
        if type_ == "Organization" and referring and all(one.endswith(".assigner") for one in referring):
            return "Assigner"
        if type_ == "Organization" and all(one.startswith(_CARRYING) for one in referring):
            return "Carrier"
        return type_

    def _walk(self, top: str, name: str, value: Any) -> Iterator[tuple[str, str, str]]:
        if isinstance(value, list):
            for one in value:
                yield from self._walk(top, name, one)
        elif isinstance(value, dict):
            yield from self._object(top, name, value)
        elif name in ("birthDate", "gender"):
            yield name, top, str(value)
        elif isinstance(value, str) and _DATE.fullmatch(value) and name not in ("value", "code", "name"):
            yield "date", _path(top, name), instant(value)
        elif name in _CODES and isinstance(value, str):
            yield "code", _path(top, name), value
        elif name in _VALUES or isinstance(value, bool | int | float):
            yield "value", _path(top, name), plain(value)
        elif name == "name" and isinstance(value, str):
            yield "name", top, plain(value)

    def _object(self, top: str, name: str, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        if isinstance(value.get("reference"), str):
            for said in self._target(value["reference"], set()):
                yield "reference", _path(top, name), said
            return
        if name == "identifier" or name.endswith("Identifier"):
            if value.get("value"):
                yield "identifier", top, plain(value["value"])
            yield from self._walk(top, "type", value.get("type", {}))
            return
        if name in ("name", "alias") and ("family" in value or "given" in value or "text" in value):
            yield from _human(top, value)
            yield from self._walk(top, "period", value.get("period", {}))
            return
        if "currency" in value or ("value" in value and isinstance(value["value"], int | float)):
            ucum = value.get("code") if value.get("system") == "http://unitsofmeasure.org" else ""
            unit = value.get("currency") or ucum or value.get("unit") or value.get("code") or ""
            yield "value", _path(top, name), f"{value.get('comparator', '')}{plain(value['value'])} {unit}".strip()
            return
        if value.get("code") and isinstance(value["code"], str):
            yield "code", top, plain(value["code"])
        for key, inner in value.items():
            if key not in _OWN and not (key == "code" and isinstance(inner, str)):
                yield from self._walk(top, key, inner)

    def _target(self, reference: str, seen: set[str]) -> Iterator[str]:
        """What a reference points at: its type, and the identifier, name or code that it is known by.

        A role stands for whoever has it.
        """
        found = self._by_id.get(reference)
        if found is None or reference in seen:
            yield reference.partition("/")[0]
        elif found["resourceType"] == "PractitionerRole":
            for name in ("practitioner", "organization"):
                if name in found and "reference" in found[name]:
                    yield from self._target(found[name]["reference"], seen | {reference})
                    return
            yield "PractitionerRole"
        else:
            yield f"{found['resourceType']} {known_by(found)}".strip()


def _references(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each reference, and the path of elements that it stands in."""
    if isinstance(value, list):
        for one in value:
            yield from _references(path, one)
    elif isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield path, value["reference"]
        for key, inner in value.items():
            yield from _references(f"{path}.{key}", inner)


def known_by(resource: dict[str, Any]) -> str:
    """Return the identifier, else the name, else the code that a resource is known by."""
    named_first = resource["resourceType"] in ("Location", "Organization")
    for element in ("identifier", "masterIdentifier"):
        values = resource.get(element, [])
        for one in values if isinstance(values, list) else [values]:
            if one.get("value") and not (named_first and resource.get("name")):
                return plain(one["value"])
    name = resource.get("name")
    if isinstance(name, list) and name:
        return plain(name[0].get("family") or name[0].get("text", ""))
    if isinstance(name, str):
        return plain(name)
    for element in ("code", "vaccineCode", "medicationCodeableConcept"):
        coding = resource.get(element, {}).get("coding") if isinstance(resource.get(element), dict) else None
        if coding:
            return plain(coding[0].get("code", ""))
    return ""


def _path(top: str, name: str) -> str:
    return top if top == name or name in ("coding", "reference") else f"{top}.{name}"


def _human(top: str, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if value.get("family"):
        yield "name", f"{top}.family", plain(value["family"])
    for part in ("given", "prefix", "suffix"):
        for one in value.get(part, ()):
            yield "name", f"{top}.{part}", plain(one)


def plain(value: Any) -> str:
    """Return a value as both sides write it: numbers as numbers, blanks as one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(float(value)).removesuffix(".0")
    return " ".join(str(value).split())


def instant(value: str) -> str:
    """Return a time as its instant, a date as it is."""
    if "T" not in value:
        return value
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except ValueError:
        return value


@dataclass(slots=True)
class Compared:
    """What one message gave: the facts both have, and those of one side, divided by whether a rule names them.

    Attributes:
        dropped: Those of ``missing_on_purpose`` whose value stands in the message and nowhere in our bundle.
    """

    message: str
    refused: str
    both: set[Fact]
    missing: set[Fact]
    missing_on_purpose: dict[Fact, Rule]
    extra: set[Fact]
    extra_on_purpose: dict[Fact, Rule]
    dropped: dict[Fact, Rule]

    @property
    def type(self) -> str:
        """The message type, of the file's name."""
        return message_type(self.message)


def message_type(name: str) -> str:
    """Return ADT for ADT-A01-02 and ADT04-251, ORU for the laboratories' own names."""
    found = re.search(r"(ADT|BAR|DFT|MDM|OMG|OML|ORM|ORU|OUL|RDE|RDS|REF|SIU|VXU)(?=-|\d)", name)
    return found[0] if found else "ORU"  # LRI_…: a laboratory's results


def compare(path: Path, rules: list[Rule]) -> Compared:
    """Return how our bundle of one message differs from the other's; a message that we refuse says nothing."""
    name, refused = path.stem, ""
    bodies: list[dict[str, Any]] = []
    try:
        found = convert(path.read_bytes(), SourceContext("facts", "facts", "UTC"))  # the zone the other ran in
        bodies = [one.body for one in found.resources]
    except SetAside as error:
        refused = f"{error.refusal.code} {error.refusal.where}"
    expected = json.loads(path.with_name(f"{name}.expected.json").read_bytes())
    ours = Bundle(bodies).facts()
    theirs = Bundle(one["resource"] for one in expected["entry"]).facts()
    missing, lacking = divide(theirs - ours, [one for one in rules if one.side == "theirs"], name)
    extra, adding = divide(ours - theirs, [one for one in rules if one.side == "ours"], name)
    said, told = path.read_bytes().decode("utf-8", "replace"), json.dumps(bodies, ensure_ascii=False)
    dropped = {
        fact: rule for fact, rule in lacking.items() if (word := _word(fact)) and word in said and word not in told
    }
    return Compared(name, refused, ours & theirs, missing, lacking, extra, adding, dropped)


def _word(fact: Fact) -> str:
    """What of a fact would stand in a message as it is: an identifier, a code, a name, or what a reference names."""
    if fact.kind == "reference":
        return fact.value.partition(" ")[2]
    return fact.value if fact.kind in ("identifier", "code", "name") else ""


def divide(facts: set[Fact], rules: list[Rule], message: str) -> tuple[set[Fact], dict[Fact, Rule]]:
    """Return the facts that no rule names, and those that one does."""
    named: dict[Fact, Rule] = {}
    for fact in facts:
        rule = next((one for one in rules if one.names(fact, message)), None)
        if rule is not None:
            named[fact] = rule
    return facts - named.keys(), named


def counts(paths: list[Path]) -> Counter[str]:
    """Return how often our resource counts equal those a LinuxForHealth test asserts, by type."""
    outcome: Counter[str] = Counter()
    for path in paths:
        expected_path = path.with_name(path.stem + ".expected-counts.json")
        try:
            found = Counter(one.type for one in convert(path.read_bytes(), SourceContext("a", "a", "UTC")).resources)
        except SetAside:
            outcome["messages refused"] += 1
            continue
        for type_, count in json.loads(expected_path.read_bytes()).items():
            if type_ != "_total":
                outcome["equal" if found[type_] == count else f"{type_} differ"] += 1
    return outcome


def with_answer(stratum: str, suffix: str) -> list[Path]:
    """Return the messages of a stratum that another converter's answer lies beside."""
    found = sorted((CORPORA / stratum).glob("*.hl7"))
    return [one for one in found if one.with_name(one.stem + suffix).exists()]


def figures(compared: list[Compared]) -> dict[str, Any]:
    """Return recall and precision over messages, with the deviations on purpose taken out and with them counted."""
    both = sum(len(one.both) for one in compared)
    missing, extra = (sum(len(getattr(one, side)) for one in compared) for side in ("missing", "extra"))
    lacking = sum(len(one.missing_on_purpose) for one in compared)
    adding = sum(len(one.extra_on_purpose) for one in compared)
    return {
        "messages": len(compared),
        "both": both,
        "missing": missing,
        "extra": extra,
        "recall": share(both, missing),
        "precision": share(both, extra),
        "missing_on_purpose": lacking,
        "extra_on_purpose": adding,
        "dropped": sum(len(one.dropped) for one in compared),
        "recall_of_all": share(both, missing + lacking),
        "precision_of_all": share(both, extra + adding),
    }


def by_kind(compared: list[Compared]) -> dict[str, dict[str, Any]]:
    """Return the figures of each kind of fact."""
    kinds = sorted({fact.kind for one in compared for fact in one.both | one.missing | one.extra})
    return {kind: figures([_only(one, kind) for one in compared]) for kind in kinds}


def _only(one: Compared, kind: str) -> Compared:
    sides = (one.both, one.missing, one.missing_on_purpose, one.extra, one.extra_on_purpose)
    both, missing, lacking, extra, adding = ([fact for fact in side if fact.kind == kind] for side in sides)
    return Compared(
        one.message,
        one.refused,
        set(both),
        set(missing),
        {fact: one.missing_on_purpose[fact] for fact in lacking},
        set(extra),
        {fact: one.extra_on_purpose[fact] for fact in adding},
        {fact: rule for fact, rule in one.dropped.items() if fact.kind == kind},
    )


def share(part: int, rest: int) -> float | None:
    """Return the share of a part in the whole, or None of nothing."""
    return round(part / (part + rest), 4) if part + rest else None


def row(title: str, found: dict[str, Any]) -> list[object]:
    """Return the figures as the table shows them."""
    percents = [None if found[name] is None else f"{found[name]:.1%}" for name in _PERCENTS]
    return [title, *(found[name] for name in ("messages", "both", "missing", "extra")), *percents]


_PERCENTS = ("recall", "precision", "recall_of_all", "precision_of_all")
_HEADINGS = ("", "messages", "both", "only theirs", "only ours", "recall", "precision", "(recall", "precision of all)")


def main() -> None:
    """Print the tables and write ``bench-results/hl7v2_facts.json``."""
    parser = options(__doc__)
    parser.add_argument("--type", default="", metavar="TYPE", help="only messages of this type, such as ADT")
    parser.add_argument("--missing", action="store_true", help="list what we do not say")
    parser.add_argument("--extra", action="store_true", help="list what only we say")
    parser.add_argument("--all", action="store_true", help="list what a rule takes out, too")
    chosen = parser.parse_args()
    need_corpora()
    rules = read_rules()
    step = 10 if chosen.quick else 1
    paths = [one for one in with_answer("ms", ".expected.json") if message_type(one.stem).startswith(chosen.type)]
    compared = [compare(path, rules) for path in paths[::step]]
    refused = {one.message: one.refused for one in compared if one.refused}
    types = {
        type_: figures([one for one in compared if one.type == type_]) for type_ in sorted({c.type for c in compared})
    }
    total = figures(compared)
    kinds = by_kind(compared)
    print(f"Microsoft FHIR-Converter, {len(compared)} messages; refused by us, and all of them missing: {len(refused)}")
    for name, why in refused.items():
        print(f"  {name}: {why}")
    print(table(_HEADINGS, [*(row(*one) for one in types.items()), row("all", total)]))
    print(f"\n{table(_HEADINGS, [row(*one) for one in kinds.items()])}")
    for wanted, side, title in ((chosen.missing, "missing", "only theirs"), (chosen.extra, "extra", "only ours")):
        if wanted:
            show(title, compared, side, chosen.all)
    dropped = Counter(rule.reason for one in compared for rule in one.dropped.values())
    print(f"\nof what is missing on purpose, {total['dropped']} facts stand in the message and nowhere in our bundle:")
    for reason, count in dropped.most_common():
        print(f"{count:5} {reason}")
    outcome = counts(with_answer("lfh", ".expected-counts.json")[::step])
    print(f"\nLinuxForHealth, counts of resources: {', '.join(f'{n} {what}' for what, n in outcome.most_common())}")
    used = Counter(
        rule.reason for one in compared for rule in (*one.missing_on_purpose.values(), *one.extra_on_purpose.values())
    )
    report = {"mapping": MAPPING, "types": types, "kinds": kinds, "all": total, "refused": refused, "counts": outcome}
    write(
        chosen.results,
        "hl7v2_facts",
        {**report, "deviations": dict(used.most_common()), "dropped": dropped, "quick": chosen.quick},
    )


def show(title: str, compared: list[Compared], side: str, on_purpose: bool) -> None:
    """Print the facts of one side, the most frequent first, each with a message that holds it."""
    count: Counter[Fact] = Counter()
    example: dict[Fact, str] = {}
    for one in compared:
        facts = set(getattr(one, side)) | (set(getattr(one, f"{side}_on_purpose")) if on_purpose else set())
        count.update(facts)
        example.update(dict.fromkeys(facts, one.message))
    print(f"\n{title}")
    for fact, times in sorted(count.items(), key=lambda item: (-item[1], item[0])):
        print(f"{times:4} {fact}  [{example[fact]}]")


if __name__ == "__main__":
    main()
