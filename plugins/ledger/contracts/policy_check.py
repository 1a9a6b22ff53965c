"""Whether rules may be proposed at all, and how one set of rules differs from another (section 14).

Every node asks this of a proposal and must come to the same answer, so nothing here depends on anything but the two
texts and the engine's version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ledger.contracts.policy import SHIPPED, PolicySet
from ledger.contracts.policy_engine import read_rules, schema_faults
from ledger.contracts.policy_text import text_faults

_ID: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_PLACE: Final = re.compile(r"^for policy `[^`]*`[,:] ")
MAX_SENTENCE: Final = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps rules from being proposed.

    Attributes:
        rule: The ``@id`` it is about, or its place (``rule 3``); empty where it is about the whole text.
        message: What is wrong, and what to do.
    """

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}" if self.rule else self.message


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy of a set.

    Attributes:
        id: Its ``@id``.
        says: Its ``@says``: what it means, in a sentence.
        forbids: Whether it forbids; else it permits.
        meaning: Its scope and conditions as the engine reads them, annotations left out.
    """

    id: str
    says: str
    forbids: bool
    meaning: str


def known_schemas() -> Mapping[str, str]:
    """Return the schemas that this program can fill in, by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(SHIPPED.glob("*.cedarschema"))}


@cache
def _schema_texts() -> frozenset[str]:
    return frozenset(known_schemas().values())


def check_policies(text: str, schema: str) -> list[Finding]:
    """Return everything that keeps rules from being proposed; nothing where they may be.

    Refused are texts that the engine does not read or that could overrun it, names and types that the schema does
    not know, attributes that may be missing and are not asked for with ``has``, templates, rules without ``@id`` or
    ``@says``, and characters that nobody sees.

    Args:
        text: Cedar policies.
        schema: Their schema, one of those that this program ships.
    """
    faults = [Finding("", one) for one in text_faults(text)] + _schema_findings(schema)
    if faults:
        return faults
    try:
        read = read_rules(text)
    except ValueError as error:
        return [Finding("", f"the rules cannot be read: {error}")]
    if read["templates"] or read["templateLinks"]:
        return [Finding("", "templates (?principal, ?resource) have no place on the chain; write the rule out")]
    names = {place: _name(place, policy) for place, policy in read["staticPolicies"].items()}
    return [
        *_annotation_findings(read["staticPolicies"], names),
        *(Finding(names.get(place, ""), _PLACE.sub("", fault)) for place, fault in schema_faults(text, schema)),
    ]


def _schema_findings(schema: str) -> list[Finding]:
    if schema in _schema_texts():
        return []
    return [
        Finding("", "the schema is none that this program fills in; use schemas/policies/schema.cedarschema as it is")
    ]


def _name(place: str, policy: dict[str, Any]) -> str:
    found = policy.get("annotations", {}).get("id")
    return found if found else f"rule {int(place.removeprefix('policy')) + 1}"


def _annotation_findings(policies: Mapping[str, dict[str, Any]], names: Mapping[str, str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for place, policy in policies.items():
        annotations = policy.get("annotations", {})
        id_, says = annotations.get("id") or "", annotations.get("says") or ""
        if not _ID.fullmatch(id_):
            yield Finding(names[place], '@id("…") is missing or not made of a-z, 0-9, dots and dashes')
        elif id_ in seen:
            yield Finding(id_, "two rules bear this @id; receipts could not tell them apart")
        seen.add(id_)
        if not 0 < len(says.strip()) <= MAX_SENTENCE or "\n" in says:
            yield Finding(
                names[place], f'@says("…") is missing; say in one line what the rule means ({MAX_SENTENCE} letters)'
            )
        if unknown := sorted(set(annotations) - {"id", "says"}):
            yield Finding(names[place], f"unknown annotation @{unknown[0]}; there are @id and @says")
        if not _meaning(policy).isascii():
            yield Finding(names[place], "a condition holds letters beyond ASCII, which may look like others")


def _meaning(policy: dict[str, Any]) -> str:
    plain = {key: value for key, value in policy.items() if key != "annotations"}
    return json.dumps(plain, sort_keys=True, ensure_ascii=False)


def rules_of(text: str) -> list[Rule]:
    """Return the rules of a text that ``check_policies`` found sound, in their order."""
    policies = read_rules(text)["staticPolicies"]
    return [
        Rule(one["annotations"]["id"], one["annotations"]["says"], one["effect"] == "forbid", _meaning(one))
        for _, one in sorted(policies.items(), key=lambda item: int(item[0].removeprefix("policy")))
    ]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new set of rules changes.

    Attributes:
        added: Rules whose ``@id`` is new.
        removed: Rules whose ``@id`` is gone.
        changed: Old and new form of rules that keep their ``@id``.
        frame: Whether schema or engine change.
    """

    added: tuple[Rule, ...]
    removed: tuple[Rule, ...]
    changed: tuple[tuple[Rule, Rule], ...]
    frame: bool

    @property
    def deny_only(self) -> bool:
        """Whether nothing can become allowed: the old rules to the letter, and beside them only ``forbid``.

        By the definition of Cedar's answer (some ``permit`` holds and no ``forbid`` does) a further ``forbid`` can
        only deny; and one that fails to evaluate denies here too.
        """
        return not (self.removed or self.changed or self.frame) and all(one.forbids for one in self.added)


def changes(old: PolicySet, new: PolicySet) -> Changes:
    """Return what changes from one sound set to another."""
    before, after = ({one.id: one for one in rules_of(each.text)} for each in (old, new))
    return Changes(
        tuple(one for id_, one in after.items() if id_ not in before),
        tuple(one for id_, one in before.items() if id_ not in after),
        tuple((one, after[id_]) for id_, one in before.items() if id_ in after and after[id_] != one),
        (old.schema, old.engine) != (new.schema, new.engine),
    )
