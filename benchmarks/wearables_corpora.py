"""Every file of the wearables' corpora: what each stratum becomes.

    python benchmarks/wearables_corpora.py [--quick]

Fragments of Open mHealth's schemas are judged as their folder says (shouldPass, shouldFail) and, where they are
objects, converted inside a data point that names their schema. Every file must give valid FHIR or a refusal with a
name: otherwise the exit code is 1. Prints a table and writes bench-results/wearables_corpora.json.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import CORPORA, ROOT, options, table, write

sys.path.insert(0, str(ROOT))

from normalise import SetAside, convert
from normalise.omh.shapes import shape
from quality.structure import check_structure
from schemas.attribution import attributed
from schemas.records import SourceContext

FOLDER = CORPORA.parent / "wearables"
CONTEXT = SourceContext("bench", "bench-home", "Asia/Shanghai")
MEDIA = {"apple-zh": "apple-health", "apple-health": "apple-health", "fit": "fit", "vendor": "wearable-api"}


def strata() -> Iterator[tuple[str, Path]]:
    """Yield the stratum and path of every case; expected results beside them are none."""
    for line in (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        path = FOLDER / entry["file"]
        stratum = entry["stratum"] if entry["stratum"] != "common" else path.relative_to(FOLDER).parts[0]
        known = stratum.startswith("omh-schemas") or stratum.partition("/")[0] in MEDIA
        if known and not path.name.endswith((".expected.json", ".csv")):
            yield stratum, path


def labelled(path: Path) -> tuple[bool, bytes | None]:
    """Return whether a fragment is judged as its folder says, and the data point that it is converted in."""
    namespace, name, version, kind, _ = path.relative_to(FOLDER / "openmhealth").parts
    body = json.loads(path.read_text(encoding="utf-8"))
    check = shape(f"{namespace}:{name}-{version}")
    right = check is not None and (check(body) is None) == (kind == "shouldPass")
    if name == "data-point":
        return right, json.dumps(body).encode()
    if name == "header":
        return right, json.dumps({"header": body, "body": {"activity_name": "walking"}}).encode()
    schema_id = {"namespace": namespace, "name": name, "version": version}
    header = {"id": "1", "creation_date_time": "2026-01-05T07:30:00+08:00", "schema_id": schema_id, "user_id": "u"}
    return right, json.dumps({"header": header, "body": body}).encode() if isinstance(body, dict) else None


def outcome(media: str, content: bytes) -> tuple[str, int]:
    """Return what one record becomes, and how many resources."""
    try:
        made = convert(media, content, CONTEXT)
    except SetAside as error:
        return f"refused {error.refusal.code}", 0
    if any(check_structure(one.body) for one in made.resources):
        return "wrong", 0
    return "converted" if made.resources else "empty", len(made.resources)


def main() -> None:
    """Convert, count and report."""
    parser = options(__doc__)
    chosen = parser.parse_args()
    if not FOLDER.is_dir():
        print(f"skipped: no corpora at {FOLDER}; set XINGLIN_CORPORA", file=sys.stderr)
        sys.exit(3)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    resources = 0
    for stratum, path in strata():
        found = counts[stratum]
        found["files"] += 1
        if stratum.startswith("omh-schemas"):
            right, content = labelled(path)
            found["as labelled" if right else "against its label"] += 1
            what, made = outcome("omh", content) if content is not None else ("part of a measure", 0)
        else:
            what, made = outcome(MEDIA[stratum.partition("/")[0]], attributed("u", path.read_bytes()))
        found[what] += 1
        resources += made
    report = {
        "strata": {name: dict(found) for name, found in sorted(counts.items())},
        "resources": resources,
        "quick": chosen.quick,
    }
    show(report)
    write(chosen.results, "wearables_corpora", report)
    total = sum(counts.values(), Counter[str]())
    sys.exit(bool(total["wrong"] or total["against its label"]))


def show(report: dict[str, Any]) -> None:
    """Print the table: a row for each stratum."""
    rows = []
    for name, found in report["strata"].items():
        refused = {key.removeprefix("refused "): count for key, count in found.items() if key.startswith("refused")}
        named = ", ".join(f"{code} {count}" for code, count in sorted(refused.items()))
        label = f"{found.get('as labelled', 0)}/{found['files']}" if name.startswith("omh") else ""
        kept = [found.get(key, 0) for key in ("converted", "empty", "part of a measure")]
        rows.append((name, found["files"], label, *kept, sum(refused.values()), found.get("wrong", 0), named))
    headings = ("stratum", "files", "as labelled", "converted", "empty", "parts", "refused", "wrong", "by code")
    print(table(headings, rows))
    print(f"resources: {report['resources']:,}")


if __name__ == "__main__":
    main()
