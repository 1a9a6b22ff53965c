"""What our bundles say against what Microsoft's FHIR-Converter says of the same documents (corpora/cda/ms).

    python benchmarks/cda_facts.py [--missing] [--extra] [--all] [--quick]

A fact is an identifier, a name, a birth date, a gender, a code, a value with its unit or a date in one type of
resource: ``code Condition 233604007``. Recall is the share of the other's facts that our bundle of the document has,
precision the share of ours that the other's has. How a fact is written (element, system, display) is each
converter's own affair; roles count as the people who have them, and what is taken as the Medication.

The other reads some entries of a document and passes over the rest (it knows documents by a template each): precision
over all facts would mostly count what it does not read. So it is measured where both read the same thing: over the
facts of our resources that share an identifier, a name or a code with one of the other's of the same type. What only
we read is counted beside it (``read by us alone``).

Deviations on purpose stand in ``cda_facts_deviations.csv``, a rule with its reason each; figures with and without the
rules are printed side by side. That a rule hides no loss is checked: what stands in the document and nowhere in our
bundle is counted as dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bundle_facts import Bundle, Fact
from facts_compared import Compared, Rule, divide, figures, figures_by, read_rules, row, show
from report import CORPORA, need_corpora, options, table, write

from normalise.cda import MAPPING, convert
from normalise.errors import SetAside
from schemas.records import SourceContext

RULES: Final = Path(__file__).with_name("cda_facts_deviations.csv")
FOLDER: Final = CORPORA.parent / "cda" / "ms"
KINDS: Final = frozenset({"identifier", "name", "birthDate", "gender", "code", "value", "date"})
#: Kinds whose values stand in a document as they are.
_WORDS: Final = frozenset({"identifier", "name", "code"})
#: What stands for the same thing in another type of resource.
_SAME: Final = {
    "PractitionerRole": "Practitioner",
    "DeviceUseStatement": "Device",
    "Assigner": "Organization",
    "Carrier": "Organization",
}
_HEADINGS: Final = (
    "", "documents", "both", "only theirs", "only ours", "recall", "precision", "(recall", "precision of all)",
)  # fmt: skip


def said(fact: Fact) -> Fact:
    """Return a fact without how it is written."""
    medication = fact.element.startswith("medicationCodeableConcept") or fact.type == "Medication"
    type_ = "Medication" if medication else _SAME.get(fact.type, fact.type)
    return Fact(fact.kind, type_, "", fact.value.lower() if fact.kind == "identifier" else fact.value)


def facts(bodies: Iterable[dict[str, Any]]) -> dict[Fact, Fact]:
    """Return everything that resources say of the kinds that count: each fact, and one that says where it stands."""
    found = sorted(one for one in Bundle(bodies).facts() if one.kind in KINDS)
    return {said(one): said(one)._replace(element=one.element) for one in found}


def shared(bodies: list[dict[str, Any]], theirs: Iterable[Fact]) -> list[dict[str, Any]]:
    """Return the resources that are about a thing which the other's bundle is about too."""
    naming = {one for one in theirs if one.kind in ("identifier", "name", "code")}
    return [one for one in bodies if _names(one) & naming]


def _names(body: dict[str, Any]) -> set[Fact]:
    """What a resource is known by: its identifiers, else its name, else its code."""
    found = [one for one in Bundle([body]).facts() if one.element in ("identifier", "name", "code", "vaccineCode")]
    for kind in ("identifier", "name", "code"):
        if names := {said(one) for one in found if one.kind == kind}:
            return names
    return {said(one) for one in Bundle([body]).facts() if one.element.startswith("medicationCodeableConcept")}


def compare(path: Path, rules: list[Rule]) -> tuple[Compared, int]:
    """Return how our bundle of one document differs from the other's, and how many facts only we read."""
    name, refused, bodies = path.name.rpartition(".")[0], "", list[dict[str, Any]]()
    try:
        found = convert(path.read_bytes(), SourceContext("facts", "facts", "UTC"))  # the zone the other ran in
        bodies = [one.body for one in found.resources if one.type != "Provenance"]
    except SetAside as error:
        refused = f"{error.refusal.code} {error.refusal.where}"
    (answer,) = path.parent.glob(f"{path.name}.*.expected.json")
    theirs = facts(one["resource"] for one in json.loads(answer.read_bytes())["entry"])
    all_ours, ours = facts(bodies), facts(shared(bodies, theirs))
    only_theirs = {where for fact, where in theirs.items() if fact not in all_ours}
    only_ours = {where for fact, where in ours.items() if fact not in theirs}
    missing, lacking = divide(only_theirs, [one for one in rules if one.side == "theirs"], name)
    extra, adding = divide(only_ours, [one for one in rules if one.side == "ours"], name)
    both = {where for fact, where in theirs.items() if fact in all_ours}
    alone = sum(fact not in ours and fact not in theirs for fact in all_ours)
    source, told = path.read_bytes().decode("utf-8"), json.dumps(bodies, ensure_ascii=False)
    dropped = {fact: rule for fact, rule in lacking.items() if fact.kind in _WORDS and _lost(fact.value, source, told)}
    return Compared(name, refused, both, missing, lacking, extra, adding, dropped), alone


def _lost(value: str, source: str, told: str) -> bool:
    """Whether a value stands in the document and nowhere in our bundle."""
    return (
        f'"{value}"' in source
        and f'"{value}"' not in told
        and f'urn:oid:{value}"' not in told
        and (f'urn:uuid:{value}"' not in told)
    )


def main() -> None:
    """Print the tables and write ``bench-results/cda_facts.json``."""
    parser = options(__doc__)
    parser.add_argument("--missing", action="store_true", help="list what we do not say")
    parser.add_argument("--extra", action="store_true", help="list what only we say")
    parser.add_argument("--all", action="store_true", help="list what a rule takes out, too")
    chosen = parser.parse_args()
    need_corpora()
    rules = read_rules(RULES)
    pairs = [compare(path, rules) for path in sorted(FOLDER.glob("*.ccda"))[:: 5 if chosen.quick else 1]]
    compared = [one for one, _ in pairs]
    types = figures_by(compared, lambda fact: fact.type)
    kinds = figures_by(compared, lambda fact: fact.kind)
    total = figures(compared)
    refused = {one.message: one.refused for one in compared if one.refused}
    alone = sum(count for _, count in pairs)
    print(f"Microsoft FHIR-Converter, {len(compared)} documents; refused by us: {len(refused)} {refused or ''}")
    print(table(_HEADINGS, [*(row(*one) for one in types.items()), row("all", total)]))
    print(f"\n{table(_HEADINGS, [row(*one) for one in kinds.items()])}")
    print(f"\nread by us alone: {alone} facts of resources that the other does not make")
    for one in compared:
        for fact in one.dropped:
            print(f"dropped though it stands in the document: {fact}  [{one.message}]")
    for wanted, side, title in ((chosen.missing, "missing", "only theirs"), (chosen.extra, "extra", "only ours")):
        if wanted:
            show(title, compared, side, chosen.all)
    used = Counter(
        rule.reason for one in compared for rule in (*one.missing_on_purpose.values(), *one.extra_on_purpose.values())
    )
    report = {"mapping": MAPPING, "types": types, "kinds": kinds, "all": total, "refused": refused, "alone": alone}
    write(chosen.results, "cda_facts", {**report, "deviations": dict(used.most_common()), "quick": chosen.quick})


if __name__ == "__main__":
    main()
