"""Clinical statements: which table reads one, what it is known by, whose it is.

``entries.csv`` chooses by template, section, mood and code; statements inside statements are read where a table or
``inner`` says so. What nothing reads stands in the narrative, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from normalise.cda import finishing
from normalise.cda.engine import TABLE_READERS, mapper
from normalise.cda.paths import Find, code_of, find
from normalise.cda.reading import Body, Reading
from normalise.cda.tables import DATA_ELEMENTS, ENTRIES, EntryRule
from normalise.cda.tree import Node

#: Clinical statements of CDA R2 (POCD_RM000040).
STATEMENTS: Final = frozenset(
    {"act", "encounter", "observation", "observationMedia", "organizer", "procedure", "regionOfInterest",
     "substanceAdministration", "supply"}
)  # fmt: skip
_SUBJECTS: Final = {
    "AllergyIntolerance": "patient",
    "Coverage": "beneficiary",
    "FamilyMemberHistory": "patient",
    "Immunization": "patient",
}
_RULES: Final[dict[str, list[tuple[EntryRule, Find | None]]]] = {}
for _rule in ENTRIES:
    _RULES.setdefault(_rule.element, []).append((_rule, find(_rule.inner) if _rule.inner else None))


def read(node: Node, outer: Node | None, reading: Reading) -> list[Body]:
    """Return the References to what a statement became, those of the statements inside it after its own."""
    rule, inner = _chosen(node, reading)
    if rule is None:
        if node.name in STATEMENTS:
            reading.note("unmapped", "No table reads a statement of this kind; it stands in the narrative.", node.name)
        return []
    references = []
    if rule.table and (own := make(rule.table, node, outer, reading)) is not None:
        references.append(own)
    for number, one in enumerate(inner(node, outer), 1) if inner is not None else ():
        with reading.at(f"{one.name}[{number}]"):
            references += read(one, node, reading)
    return references


def make(table: str, node: Node, outer: Node | None, reading: Reading) -> Body | None:
    """Return the Reference to the resource that a table makes of a statement, or None where it says nothing."""
    run = mapper(f"entries/{table}")
    type_ = run.type
    body: Body = {"resourceType": type_, _SUBJECTS.get(type_, "subject"): {"reference": f"Patient/{reading.patient}"}}
    run.apply(node, outer, body, reading)
    made = finishing.finish(body, node, reading)
    if made is None:
        return None
    root, extension = own_id(node)
    made["id"] = reading.statement_id(type_, root, extension)
    return reading.add(made)


def own_id(node: Node) -> tuple[str, str]:
    """Return root and extension of a statement's first id that is one; empty texts where it has none."""
    for one in node.all("id"):
        if one.get("root") and not one.get("nullFlavor"):
            return one.get("root"), one.get("extension")
    return "", ""


def _chosen(node: Node, reading: Reading) -> tuple[EntryRule | None, Find | None]:
    candidates = _RULES.get(node.name, ())
    templates = {one.get("root") for one in node.all("templateId")}
    code, mood, section = code_of(node), node.get("moodCode") or "EVN", reading.section.key
    for rule, inner in candidates:
        if (
            (not rule.template or rule.template in templates)
            and (not rule.mood or mood in rule.mood)
            and (not rule.code or code in rule.code)
            and (not rule.section or section in rule.section)
        ):
            return rule, inner
    return None, None


def entries(section: Node, reading: Reading) -> Iterator[Body]:
    """Yield the References to what the entries of a section became."""
    for number, entry in enumerate(section.all("entry"), 1):
        with reading.at(f"entry[{number}]"):
            for node in entry.elements():
                yield from _entry(node, reading)


def _entry(node: Node, reading: Reading) -> list[Body]:
    """A data element of WS 363 is known by its code wherever it stands; everything else by ``entries.csv``."""
    element = DATA_ELEMENTS.get(code_of(node)) if node.name in ("observation", "procedure", "organizer") else None
    if element is None or not element.table:
        return read(node, None, reading)
    made = make(element.table, node, None, reading)
    return [made] if made is not None else []


def _statement(argument: str) -> Any:
    """``statement(TABLE)``: a table reads it; ``statement(:TYPE)``: one of ``entries.csv`` does, if it makes a TYPE."""
    table = argument if not argument.startswith(":") else ""
    prefix = f"{argument[1:]}/" if not table else ""

    def run(node: Node, outer: Node, reading: Reading) -> Body | None:
        with reading.at(f"{node.name}[{reading.ordinal}]"):
            if table:
                return make(table, node, outer, reading)
            found = (one for one in read(node, outer, reading) if one["reference"].startswith(prefix))
            return next(found, None)

    return run


TABLE_READERS["statement"] = _statement
