"""How far our bundles agree with two other converters' over the same messages (corpora/hl7v2, ms and lfh).

    python benchmarks/hl7v2_agreement.py [--differences TYPE] [--quick]

A fact is (resource type, element, leaf, value): identifiers, codes, values, names, dates. Ids, references, systems,
displays and narrative are made by each converter in its own way and are no facts; times are compared as instants.
Recall is the share of the other's facts that we have too, precision the share of ours that the other has. Neither is a
score against the truth: where we differ on purpose, docs/mapping.md says why.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import CORPORA, need_corpora, options, table, write

from normalise.errors import SetAside
from normalise.hl7v2 import MAPPING, convert
from schemas.records import SourceContext

#: Made by each converter in its own way.
IGNORED = {
    "resourceType", "id", "reference", "url", "system", "display", "div", "status", "lastUpdated", "meta", "text",
    "title", "version", "target", "agent", "entity", "activity", "recorded", "mode", "description",
}  # fmt: skip
Fact = tuple[str, str, str, str]


def facts(resource: dict[str, Any]) -> Iterator[Fact]:
    """Yield the facts of one resource."""
    for element, value in resource.items():
        if element not in IGNORED:
            for leaf, sent in _leaves(element, value):
                yield resource["resourceType"], element, leaf, _same(sent)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in IGNORED:
                yield from _leaves(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner)
    else:
        yield name, value


def _same(value: Any) -> str:
    """The value as both write it: a time as an instant, a number as a float, a text without outer blanks."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return repr(float(value))
    text = " ".join(str(value).split())
    if "T" in text and text[:4].isdigit():
        try:
            return datetime.fromisoformat(text).astimezone(UTC).isoformat()
        except ValueError:
            return text
    return text


def compare(names: list[Path]) -> tuple[Counter[Fact], Counter[Fact], int, Counter[str]]:
    """Return ours and theirs, how many messages we converted, and why the others were refused."""
    ours: Counter[Fact] = Counter()
    theirs: Counter[Fact] = Counter()
    converted, refused = 0, Counter[str]()
    for path in names:
        # The other converter ran with times without an offset read as UTC.
        context = SourceContext("agreement", "agreement", "UTC")
        try:
            found = convert(path.read_bytes(), context)
        except SetAside as error:
            refused[error.refusal.code] += 1
            continue
        converted += 1
        expected = json.loads(path.with_name(path.stem + ".expected.json").read_bytes())
        for resource in found.resources:
            ours.update(facts(resource.body))
        for entry in expected["entry"]:
            theirs.update(facts(entry["resource"]))
    return ours, theirs, converted, refused


def by_type(ours: Counter[Fact], theirs: Counter[Fact]) -> list[dict[str, Any]]:
    """Return one row a resource type: facts on both sides, recall, precision."""
    both = ours & theirs
    rows = []
    for type_ in sorted({fact[0] for fact in ours | theirs}):
        count = [sum(n for fact, n in side.items() if fact[0] == type_) for side in (ours, theirs, both)]
        rows.append(
            {
                "type": type_,
                "ours": count[0],
                "theirs": count[1],
                "both": count[2],
                "recall": round(count[2] / count[1], 3) if count[1] else None,
                "precision": round(count[2] / count[0], 3) if count[0] else None,
            }
        )
    return rows


def counts(names: list[Path]) -> Counter[str]:
    """Return how often our resource counts equal those a LinuxForHealth test asserts, by type."""
    outcome: Counter[str] = Counter()
    for path in names:
        expected_path = path.with_name(path.stem + ".expected-counts.json")
        try:
            found = Counter(one.type for one in convert(path.read_bytes(), SourceContext("a", "a", "UTC")).resources)
        except SetAside:
            continue
        for type_, count in json.loads(expected_path.read_bytes()).items():
            if type_ != "_total":
                equal = found[type_] == count
                outcome["equal" if equal else f"{type_} {found[type_]} for {count} in {path.stem}"] += 1
    return outcome


def main() -> None:
    """Print the tables and write ``bench-results/hl7v2_agreement.json``."""
    parser = options(__doc__)
    parser.add_argument("--differences", metavar="TYPE", help="list what differs in resources of this type")
    chosen = parser.parse_args()
    need_corpora()
    step = 10 if chosen.quick else 1
    names = [one for one in with_answer("ms", ".expected.json") if one.stem.startswith(("ADT", "ORU", "L"))][::step]
    ours, theirs, converted, refused = compare(names)
    rows = by_type(ours, theirs)
    print(f"Microsoft FHIR-Converter, {converted} of {len(names)} messages with a bundle; refused {dict(refused)}\n")
    print(table(("type", "ours", "theirs", "both", "recall", "precision"), [shares(row) for row in rows]))
    if chosen.differences:
        for title, side in (("only theirs", theirs - ours), ("only ours", ours - theirs)):
            print(f"\n{title}")
            for fact, count in side.most_common():
                if fact[0] == chosen.differences:
                    print(f"{count:4} {fact[1]:18} {fact[2]:18} {fact[3][:90]}")
    outcome = counts(with_answer("lfh", ".expected-counts.json")[::step])
    equal = outcome["equal"]
    print(f"\nLinuxForHealth, resource counts: {equal} equal, {outcome.total() - equal} differ")
    for what in sorted(outcome.keys() - {"equal"}):
        print(f"  {what}")
    report = {"mapping": MAPPING, "rows": rows, "counts": outcome, "quick": chosen.quick}
    write(chosen.results, "hl7v2_agreement", report)


def with_answer(stratum: str, suffix: str) -> list[Path]:
    """Return the messages of a stratum that another converter's answer lies beside."""
    found = sorted((CORPORA / stratum).glob("*.hl7"))
    return [one for one in found if one.with_name(one.stem + suffix).exists()]


def shares(row: dict[str, Any]) -> list[object]:
    """Return a row as the table shows it."""
    percent = [None if row[key] is None else f"{row[key]:.0%}" for key in ("recall", "precision")]
    return [row["type"], row["ours"], row["theirs"], row["both"], *percent]


if __name__ == "__main__":
    main()
