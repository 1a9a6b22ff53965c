"""`xinglin convert --ndjson` over every file of the corpora, the broken ones too: what each stratum becomes.

    python benchmarks/convert_corpora.py [CORPUS…] [--files 100] [--quick]

Runs the command itself, some files in each process, each corpus by its kinds. Every file must come back, in order, as a
bundle (or bundles) or as a named refusal; no process may print a traceback, and nothing that we made ourselves may be
refused for its structure: otherwise the exit code is 1. Prints a table and writes bench-results/convert_corpora.json.

Rows come as the connector of tables reads them, a file of lines for each database. Open mHealth's fragments are no
files that anybody sends (bodies without a header): benchmarks/wearables_corpora.py judges them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from report import CORPORA, ROOT, need_corpora, options, table, write

sys.path.insert(0, str(ROOT))

from samples import MAPPINGS, listed, rows
from sql_corpora import CORPORA_OF

PROGRAM = "import sys; from console.main import main; sys.argv[0] = 'xinglin'; main()"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FOLDER = CORPORA.parent
#: What the wearables' corpus holds, by the beginning of the stratum.
WEARABLES = {"apple-zh": "apple-health", "fit": "fit", "vendor": "wearable-api"}
#: Files of the corpora that are no cases: results, tables of codes, indexes.
NO_CASES = (".expected.json", ".outcome.json", ".csv", "-index.json", "his_26.sql", "his_26.gb18030.sql")


@dataclass(frozen=True, slots=True)
class Case:
    """One file for the command.

    Attributes:
        corpus: Folder of the corpora.
        stratum: Row of the table.
        path: The file.
        arguments: What the command is told beside it.
    """

    corpus: str
    stratum: str
    path: Path
    arguments: tuple[str, ...]


def cases(corpora: list[str], made: Path) -> Iterator[Case]:
    """Yield every file of the corpora, those of one corpus and arguments together; ``made`` takes files of rows."""
    for corpus in corpora:
        if corpus == "his-sql":
            yield from tables(made)
        else:
            found = [case for stratum, path in listed(corpus) if (case := one(corpus, stratum, path)) is not None]
            yield from sorted(found, key=lambda case: (case.arguments, case.stratum, case.path))


def one(corpus: str, stratum: str, path: Path) -> Case | None:
    """Return a file as a case, or None where it is none."""
    kind = corpus
    top = path.relative_to(FOLDER / corpus).parts[0]
    if path.name.endswith(NO_CASES) or (corpus in ("hl7v2", "cda", "dicom") and path.suffix == ".json"):
        return None
    if corpus == "wearables":
        kind = WEARABLES.get(stratum.partition("/")[0], "apple-health" if path.name == "export.xml" else "")
    if (corpus == "fhir" and top == "r4b-examples") or stratum == "common":
        stratum = top
    return Case(corpus, stratum, path, ("--kind", kind)) if kind else None


def tables(made: Path) -> Iterator[Case]:
    """Yield a file of rows for each database."""
    for number, (name, *_, mapping, _charset) in enumerate(CORPORA_OF):
        path = made / f"{number}.ndjson"
        path.write_bytes(b"\n".join(rows(name)))
        yield Case("his-sql", name, path, ("--kind", "row", "--mapping", str(MAPPINGS / f"{mapping}.yaml")))


def convert(arguments: tuple[str, ...], files: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Return the command's lines for these files, and how many tracebacks it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "convert", "--ndjson", *arguments, *files],
        cwd=FOLDER,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines, done.stderr.count("Traceback")


def outcome(line: dict[str, Any]) -> list[str]:
    """Return what one file became: ``bundle`` for each good record, a reason code for each refused one."""
    bundles = ["bundle"] * ("bundle" in line) + ["bundle"] * len(line.get("bundles", ()))
    refused = line.get("refused", [])
    return bundles + [one["code"] for one in (refused if isinstance(refused, list) else [refused])]


class Counts:
    """What became of each stratum of each corpus.

    Attributes:
        strata: Files, bundles, files without an answer and refusals by code, by corpus and stratum.
        tracebacks: Printed, by corpus.
        resources: Made, by corpus and type.
    """

    def __init__(self) -> None:
        self.strata: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.tracebacks: Counter[str] = Counter()
        self.resources: dict[str, Counter[str]] = defaultdict(Counter)

    def take(self, part: list[Case]) -> None:
        """Convert some files of one corpus, told the same, and count what came."""
        names = [str(case.path) for case in part]
        lines, broken = convert(part[0].arguments, names)
        corpus = part[0].corpus
        self.tracebacks[corpus] += broken
        answers = {line["file"]: line for line in lines} if [line["file"] for line in lines] == names else {}
        for case in part:
            found = self.strata[corpus][case.stratum]
            found["files"] += 1
            line = answers.get(str(case.path))
            found.update(outcome(line) if line else ["no answer"])
            for bundle in [line.get("bundle", {}), *line.get("bundles", ())] if line else ():
                self.resources[corpus].update(entry["resource"]["resourceType"] for entry in bundle.get("entry", ()))

    def wrong(self, corpus: str) -> int:
        """Return how often what we made ourselves was refused for its structure."""
        return 0 if corpus == "fhir" else sum(found["fhir_structure"] for found in self.strata[corpus].values())

    def report(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {
            corpus: {
                "files": sum(found["files"] for found in strata.values()),
                "files_without_an_answer": sum(found["no answer"] for found in strata.values()),
                "tracebacks": self.tracebacks[corpus],
                "wrong": self.wrong(corpus),
                "strata": {name: dict(sorted((+found).items())) for name, found in sorted(strata.items())},
                "resources": dict(sorted(self.resources[corpus].items())),
            }
            for corpus, strata in self.strata.items()
        }


def main() -> None:
    """Convert, count and report."""
    known = ["hl7v2", "cda", "fhir", "dicom", "his-sql", "wearables"]
    parser = options(__doc__)
    parser.add_argument("corpora", nargs="*", metavar="CORPUS", help=f"one of: {', '.join(known)}; all without it")
    parser.add_argument("--files", type=int, default=100, help="files in one process")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.corpora) - set(known)):
        parser.error(f"no corpus {', '.join(unknown)}; there are {', '.join(known)}")
    need_corpora()
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        found = cases(chosen.corpora or known, Path(folder))
        for _, group in groupby(found, key=lambda case: (case.corpus, case.arguments)):
            alike = list(group)[:: 25 if chosen.quick else 1]
            for start in range(0, len(alike), chosen.files):
                counts.take(alike[start : start + chosen.files])
    report = counts.report()
    show(report)
    write(chosen.results, "convert_corpora", {"corpora": report, "quick": chosen.quick})
    sys.exit(any(one["tracebacks"] or one["files_without_an_answer"] or one["wrong"] for one in report.values()))


def show(report: dict[str, Any]) -> None:
    """Print the table: a row for each stratum and one for each corpus, refusals by code."""
    lines: list[tuple[object, ...]] = []
    for corpus, found in report.items():
        total: Counter[str] = Counter()
        for stratum, counted in found["strata"].items():
            total.update(counted)
            lines.append(row(corpus, stratum, counted))
        lines.append(row(corpus, "all", total))
    print(table(("corpus", "stratum", "files", "converted", "refused", "no answer", "by code"), lines))
    heads = ("corpus", "files", "resources", "wrong", "no answer", "tracebacks")
    print(f"\n{table(heads, [last(*one) for one in report.items()])}")
    print("records are counted where a file holds several; omh-schemas/…: benchmarks/wearables_corpora.py")


def row(corpus: str, stratum: str, found: Mapping[str, int]) -> tuple[object, ...]:
    """Return one row of the table."""
    codes = {code: number for code, number in sorted(found.items()) if code not in ("files", "bundle", "no answer")}
    named = ", ".join(f"{code} {number}" for code, number in codes.items())
    rest = found.get("files", 0), found.get("bundle", 0), sum(codes.values()), found.get("no answer", 0), named
    return corpus, stratum, *rest


def last(corpus: str, found: dict[str, Any]) -> tuple[object, ...]:
    """Return a corpus's row of the last table."""
    made = sum(found["resources"].values())
    return corpus, found["files"], made, found["wrong"], found["files_without_an_answer"], found["tracebacks"]


if __name__ == "__main__":
    main()
