"""`xinglin convert --ndjson` over every file of the HL7 v2 corpora, the broken ones too: what each stratum becomes.

    python benchmarks/convert_corpora.py [--files 100] [--quick]

Runs the command itself, some files in each process. Every file must come back, in order, as a bundle (or bundles) or
as a named refusal, and no process may print a traceback: otherwise the exit code is 1. Prints a table and writes
bench-results/convert_corpora.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from report import CORPORA, ROOT, need_corpora, options, table, write

PROGRAM = "import sys; from console.main import main; sys.argv[0] = 'xinglin'; main()"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def strata() -> dict[str, str]:
    """Return the stratum of every message file of the corpora, by its name."""
    lines = (CORPORA / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {one["file"]: one["stratum"] for one in entries if not one["file"].endswith((".json", ".csv"))}


def convert(files: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Return the command's lines for these files, and how many tracebacks it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "convert", "--ndjson", *files],
        cwd=CORPORA,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines, done.stderr.count("Traceback")


def outcome(line: dict[str, Any]) -> list[str]:
    """Return what one file became: ``bundle`` for each good message, a reason code for each refused one."""
    bundles = ["bundle"] * ("bundle" in line) + ["bundle"] * len(line.get("bundles", ()))
    refused = line.get("refused", [])
    return bundles + [one["code"] for one in (refused if isinstance(refused, list) else [refused])]


def main() -> None:
    """Convert, count and report."""
    parser = options(__doc__)
    parser.add_argument("--files", type=int, default=100, help="files in one process")
    chosen = parser.parse_args()
    need_corpora()
    known = dict(sorted(strata().items())[:: 25 if chosen.quick else 1])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    tracebacks, lost, resources = 0, 0, Counter[str]()
    names = list(known)
    for start in range(0, len(names), chosen.files):
        files = names[start : start + chosen.files]
        lines, broken = convert(files)
        tracebacks += broken
        lost += sum(one != name for one, name in zip([line["file"] for line in lines], files, strict=False))
        lost += len(files) - len(lines)
        for line in lines:
            counts[known[line["file"]]].update(["file", *outcome(line)])
            for bundle in [line.get("bundle", {}), *line.get("bundles", ())]:
                resources.update(entry["resource"]["resourceType"] for entry in bundle.get("entry", ()))
    report = {
        "files": len(known),
        "tracebacks": tracebacks,
        "files_without_an_answer": lost,
        "strata": {name: dict(sorted(found.items())) for name, found in sorted(counts.items())},
        "resources": dict(sorted(resources.items())),
        "quick": chosen.quick,
    }
    show(report)
    write(chosen.results, "convert_corpora", report)
    sys.exit(bool(tracebacks or lost))


def show(report: dict[str, Any]) -> None:
    """Print the table: a row for each stratum, refusals by code."""
    total: Counter[str] = Counter()
    for found in report["strata"].values():
        total.update(found)
    rows = [row(name, found) for name, found in [*report["strata"].items(), ("all", total)]]
    print(table(("stratum", "files", "bundles", "refused", "by code"), rows))
    print(f"resources: {sum(report['resources'].values()):,}")
    print(f"tracebacks: {report['tracebacks']}; files without an answer: {report['files_without_an_answer']}")


def row(name: str, found: Mapping[str, int]) -> tuple[object, ...]:
    """Return one row of the table."""
    codes = {code: number for code, number in sorted(found.items()) if code not in ("file", "bundle")}
    named = ", ".join(f"{code} {number}" for code, number in codes.items())
    return name, found.get("file", 0), found.get("bundle", 0), sum(codes.values()), named


if __name__ == "__main__":
    main()
