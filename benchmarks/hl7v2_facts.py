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

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from bundle_facts import Bundle, Fact
from facts_compared import Compared, Rule, divide, figures, figures_by, read_rules, row, show
from report import CORPORA, need_corpora, options, table, write

from normalise.errors import SetAside
from normalise.hl7v2 import MAPPING, convert
from schemas.records import SourceContext

RULES = Path(__file__).with_name("hl7v2_facts_deviations.csv")
#: The least that is asked of us (issue 3).
RECALL, PRECISION = 0.95, 0.98
_HEADINGS = ("", "messages", "both", "only theirs", "only ours", "recall", "precision", "(recall", "precision of all)")


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


def main() -> None:
    """Print the tables and write ``bench-results/hl7v2_facts.json``."""
    parser = options(__doc__)
    parser.add_argument("--type", default="", metavar="TYPE", help="only messages of this type, such as ADT")
    parser.add_argument("--missing", action="store_true", help="list what we do not say")
    parser.add_argument("--extra", action="store_true", help="list what only we say")
    parser.add_argument("--all", action="store_true", help="list what a rule takes out, too")
    chosen = parser.parse_args()
    need_corpora()
    rules = read_rules(RULES)
    step = 10 if chosen.quick else 1
    paths = [one for one in with_answer("ms", ".expected.json") if message_type(one.stem).startswith(chosen.type)]
    compared = [compare(path, rules) for path in paths[::step]]
    refused = {one.message: one.refused for one in compared if one.refused}
    of_type: dict[str, list[Compared]] = {}
    for one in sorted(compared, key=lambda one: message_type(one.message)):
        of_type.setdefault(message_type(one.message), []).append(one)
    types = {type_: figures(some) for type_, some in of_type.items()}
    total = figures(compared)
    kinds = figures_by(compared, lambda fact: fact.kind)
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


if __name__ == "__main__":
    main()
