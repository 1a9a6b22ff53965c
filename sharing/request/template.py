"""The draft that `xinglin request new` writes: every field with a line on what it means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is known of a request before its draft is written; the draft says the rest.

    Attributes:
        requester: Institution that asks.
        title: One line for people.
        holders: Institutions whose records are asked for.
        purpose: What for.
        codes: For each criterion its codes, each ``system|code``.
        period: First and last date, ``""`` for open.
        ages: Least and greatest age, or None.
        sexes: Administrative genders.
        views: Names from the library, or files.
        keep_until: By when it is deleted.
        most: Records at most.
        ethics: Committee, number, first and last date, document; or nothing.
    """

    requester: str
    title: str
    holders: Sequence[str]
    purpose: str
    keep_until: date
    views: Sequence[str]
    codes: Sequence[Sequence[str]] = ()
    period: tuple[str, str] = ("", "")
    ages: tuple[int, int] | None = None
    sexes: Sequence[str] = ()
    most: int = 100_000
    ethics: Sequence[str] = ()
    known_views: Sequence[str] = field(default=())


def draft(wishes: Wishes) -> str:
    """Return the text of a draft: YAML that a person goes on writing, then signs."""
    first, last = wishes.period
    return f"""\
# A request for a dataset. Complete it, then:  xinglin request check THIS.yaml
# and, when the answer pleases:                xinglin request sign THIS.yaml
# What stands here is read by the data access committee and by every hospital that is asked. No patients' names.

# What it is for, in one line for people.
title: {_text(wishes.title)}
# Who asks, and whose records are asked for: ids of `xinglin credit`.
requester: {wishes.requester}
holders: {_list(wishes.holders)}
# research, claims, public-health, audit, care. The rules differ: `xinglin policy show`.
purpose: {wishes.purpose}
# Who will read, where it is not the institution itself: doctor, hospital, …
reader: ""
# The key the dataset is sealed to; empty for the institution's own. `xinglin request key` makes one for a person.
recipient: ""

cohort:
  # A patient is meant who has, for each entry, a record with one of its codes. None: every patient.
  criteria: {_criteria(wishes.codes)}
  # First and last date of the records that count and are exported; empty is open.
  period: {{from: {_text(first)}, until: {_text(last)}}}
  # Completed years, for example {{from: 18, to: 89}}; none is any age.
  ages: {f"{{from: {wishes.ages[0]}, to: {wishes.ages[1]}}}" if wishes.ages else "none"}
  # female, male, other, unknown; empty is any.
  sexes: {_list(wishes.sexes)}

# One table each: names from the library, or ViewDefinitions of your own as files that end in .json.
# The library has: {", ".join(wishes.known_views)}
views: {_list(wishes.views)}

# How records are de-identified: gbt-37964 or hipaa-safe-harbor.
profile: gbt-37964
# What a table must meet before it leaves: persons alike (k), different sensitive values among them (l), closeness of
# their distribution in thousandths (t; 1000 asks for nothing), thousandths of rows that may be left out for it.
demands: {{k: 5, l: 1, t: 1000, suppression: 50}}
# Whether the de-identified FHIR resources are wanted beside the tables: true or false.
ndjson: false
# Records that may be delivered at most, by all together.
most: {wishes.most}

# The approval of an ethics committee; research needs one. `document` is its file, or the file's SM3.
ethics: {_ethics(wishes.ethics)}
# By this date you delete the dataset.
keep_until: {wishes.keep_until.isoformat()}
"""


def _text(value: str) -> str:
    """Return a scalar that YAML reads back as it is: JSON's strings are YAML's."""
    return json.dumps(value, ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _criteria(codes: Sequence[Sequence[str]]) -> str:
    if not codes:
        return "[]"
    return "".join("\n    - [" + ", ".join(map(_code, some)) + "]" for some in codes)


def _code(value: str) -> str:
    system, _, code = value.rpartition("|")
    return f"{{system: {_text(system)}, code: {_text(code)}}}"


def _ethics(found: Sequence[str]) -> str:
    if not found:
        return 'none  # {committee: "…", number: "…", from: 2026-01-01, until: 2027-12-31, document: approval.pdf}'
    names = ("committee", "number", "from", "until", "document")
    return "{" + ", ".join(f"{name}: {_text(value)}" for name, value in zip(names, found, strict=True)) + "}"
