"""The FHIR corpora on their way to the vault: what is accepted, what is refused by which rule, what each check costs.

    python benchmarks/fhir_corpora.py [--quick]

Normalises, checks structure, invariants, reference types, required codes and narrative of every file. Official
examples, synthetic patients and validator cases without errors must be accepted; bad files must be refused, but those
that benchmarks/fhir_beyond.csv lists with the reason why not: otherwise the exit code is 1. Prints tables and writes
bench-results/fhir_corpora.json.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from report import CORPORA, need_corpora, options, table, write

from normalise.errors import SetAside
from normalise.fhir import convert
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.records import SourceContext

FOLDER = CORPORA.parent / "fhir"
CONTEXT = SourceContext("corpora", "hospital-east", "Asia/Shanghai")
#: Names of the server's test files that say what is wrong with them.
BAD = re.compile(r"Invalid|Wrong|Missing|NoCode|Bad|Foreign|MultipleEntries|POSTFullUrl")


def cases() -> Iterator[tuple[str, str, bytes, str]]:
    """Yield group, name, content of each record, and what must become of it: good, bad or open."""
    for path in sorted(FOLDER.rglob("*.json")):
        group = path.relative_to(FOLDER).parts[0]
        if path.name.endswith(".outcome.json"):
            continue
        outcome = path.with_name(f"{path.stem}.outcome.json")
        if outcome.exists():
            wanted = "bad" if json.loads(outcome.read_bytes())["errors"] else "good"
        else:
            wanted = "good" if group in ("r4b-examples", "synthea") else "bad" if BAD.search(path.stem) else "open"
        yield group, path.stem, path.read_bytes(), wanted
    for path in sorted((FOLDER / "bulk-ndjson").iterdir()):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            yield "bulk-ndjson", f"{path.stem}:{number}", line, "good"


def judge(content: bytes) -> str:
    """Return the reason code for which a record is refused, ``""`` where it is accepted."""
    try:
        made = convert(content, CONTEXT)
    except SetAside as error:
        return error.refusal.code
    for one in made.resources:
        if fault := check_structure(one.body) or check_invariants(one.body):
            return fault.code
    return ""


def rate(work: Callable[[Any], object], things: list[Any], seconds: float) -> float:
    """Return how many things a second the work does, by processor time."""
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        for one in things:
            work(one)
        done += len(things)
    return done / (time.process_time() - begun)


def speeds(seconds: float) -> list[dict[str, Any]]:
    """Return resources a second of each step, for exported Observations and for what hospitals' bundles hold."""
    lines = (FOLDER / "bulk-ndjson" / "Observation.ndjson").read_bytes().splitlines()
    mixed = [
        json.dumps(entry["resource"], ensure_ascii=False).encode()
        for path in sorted((FOLDER / "synthea").glob("*.json"))
        for entry in json.loads(path.read_bytes())["entry"]
    ]
    found = []
    for name, contents in (("Observation", lines), ("synthea", mixed[:400])):
        made = [one.body for content in contents for one in convert_or_none(content)]
        found.append(
            {
                "resources": name,
                "bytes": sum(map(len, contents)) // len(contents),
                "convert": rate(convert_or_none, contents, seconds),
                "structure": rate(check_structure, made, seconds),
                "invariants": rate(check_invariants, made, seconds),
            }
        )
    return found


def convert_or_none(content: bytes) -> tuple[Any, ...]:
    """Return the resources of a record, none of a refused one."""
    try:
        return convert(content, CONTEXT).resources
    except SetAside:
        return ()


def main() -> None:
    """Judge, count, measure and report."""
    chosen = options(__doc__).parse_args()
    need_corpora()
    with (Path(__file__).parent / "fhir_beyond.csv").open(encoding="utf-8") as stream:
        beyond = {row["case"]: row["reason"] for row in csv.DictReader(stream)}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    refused: dict[str, list[str]] = defaultdict(list)
    accepted_bad: list[str] = []
    for group, name, content, wanted in list(cases())[:: 10 if chosen.quick else 1]:
        code = judge(content)
        counts[group].update([wanted, f"{wanted} {'refused' if code else 'accepted'}", *([code] if code else [])])
        if code and wanted == "good":
            refused[code].append(name)
        if wanted == "bad" and not code:
            accepted_bad.append(name)
    measured = speeds(0.05 if chosen.quick else 1.0)
    wrong = [name for code, names in refused.items() for name in names if code != "fhir_modifier"]
    unexplained = [name for name in accepted_bad if name not in beyond]
    show(counts, refused, {name: beyond.get(name, "unexplained") for name in accepted_bad}, measured)
    report = {
        "groups": {name: dict(sorted(found.items())) for name, found in sorted(counts.items())},
        "good_refused": dict(refused),
        "bad_accepted": {name: beyond.get(name, "unexplained") for name in accepted_bad},
        "speeds": measured,
        "quick": chosen.quick,
    }
    write(chosen.results, "fhir_corpora", report)
    sys.exit(bool(wrong or unexplained))


def show(
    counts: dict[str, Counter[str]],
    refused: dict[str, list[str]],
    accepted_bad: dict[str, str],
    measured: list[dict[str, Any]],
) -> None:
    """Print what became of each group, the exceptions by name, and the speeds."""
    kinds = ("good", "good accepted", "bad", "bad refused", "open", "open accepted")
    rows: list[tuple[object, ...]] = []
    for name, found in sorted(counts.items()):
        codes = ", ".join(f"{code} {number}" for code, number in sorted(found.items()) if code.split()[0] not in WANTED)
        rows.append((name, *(found.get(kind, 0) for kind in kinds), codes))
    print(table(("group", *kinds, "refused by"), rows))
    for code, names in refused.items():
        print(f"good, refused as {code}: {', '.join(names)}")
    print("\nbad, accepted, and why")
    print(table(("case", "reason"), list(accepted_bad.items())))
    print("\nresources a second, one process, processor time")
    heads = ("resources", "bytes", "convert", "structure", "invariants")
    print(table(heads, [tuple(one[head] for head in heads) for one in measured]))


WANTED = ("good", "bad", "open")

if __name__ == "__main__":
    main()
