"""Scrubbing of free text and de-identification of DICOM: what is found, what is left, and how fast.

    python benchmarks/scrubbing.py [--quick] [--results FOLDER]

Recall: marked spans that lie wholly within something hidden. Precision: hidden spans that touch a marked one. Of
presidio's English records the share by kind is told; English is not what the rules are for.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from report import CORPORA, need_corpora, options, table, write  # noqa: E402

from sharing.deidentify import load_profile  # noqa: E402
from sharing.deidentify.imaging import deidentify_dicom  # noqa: E402
from sharing.deidentify.scrubbing import scrub  # noqa: E402
from sharing.errors import Malformed, Refused  # noqa: E402

_KEYS = {"notes-zh": ("text", "start", "end", "label"),
         "presidio": ("full_text", "start_position", "end_position", "entity_type")}  # fmt: skip


def notes(folder: Path, quick: bool) -> dict[str, Any]:
    """Return counts of one corpus of marked texts."""
    body, start, end, label = _KEYS[folder.name]
    marked, found, hidden, right = Counter[str](), Counter[str](), 0, 0
    for path in sorted(folder.glob("*.json"))[: 10 if quick else None]:
        note = json.loads(path.read_text("utf-8"))
        spans = [(one.start, one.end) for one in scrub(note[body]).spans]
        gold = [(one[start], one[end], one[label]) for one in note["spans"]]
        for low, high, kind in gold:
            marked[kind] += 1
            found[kind] += any(a <= low and high <= b for a, b in spans)
        hidden += len(spans)
        right += sum(any(low < b and a < high for low, high, _ in gold) for a, b in spans)
    return {"corpus": folder.name, "marked": marked.total(), "found": found.total(), "hidden": hidden, "right": right,
            "kinds": {kind: [found[kind], marked[kind]] for kind in sorted(marked)}}  # fmt: skip


def speed(folder: Path, quick: bool) -> dict[str, float]:
    """Return characters a second over Chinese notes joined to a record of 2,000, and to one of 800,000."""
    joined = "\n".join(json.loads(path.read_text("utf-8"))["text"] for path in sorted(folder.glob("*.json"))[:24])
    scrub(joined)
    long = joined * (10 if quick else 400)
    figures = {}
    for name, texts in (("records", [joined] * (5 if quick else 200)), ("one long text", [long])):
        begun = time.perf_counter()
        for text in texts:
            scrub(text, ["欧阳梓涵", "P000001"])
        figures[name] = sum(map(len, texts)) / (time.perf_counter() - begun)
    return figures


def objects(folder: Path) -> dict[str, Any]:
    """Return what became of the DICOM objects of a folder."""
    profile, outcome, size, spent = load_profile("gbt-37964"), Counter[str](), 0, 0.0
    for path in sorted(folder.glob("*.dcm")):
        data = path.read_bytes()
        begun = time.perf_counter()
        try:
            deidentify_dicom(data, bytes(32), b"person", profile)
            outcome["left"] += 1
        except (Refused, Malformed) as error:
            outcome[error.rule if isinstance(error, Refused) else "malformed"] += 1
        spent += time.perf_counter() - begun
        size += len(data)
    return {"folder": folder.name, "outcome": dict(outcome), "per_second": outcome.total() / spent}


def main() -> None:
    """Measure, print, and leave bench-results/scrubbing.json."""
    given = options(__doc__ or "").parse_args()
    need_corpora()
    corpora = CORPORA.parent
    texts = [notes(corpora / "deid" / name, given.quick) for name in _KEYS]
    print(table(["corpus", "marked", "found", "hidden", "right", "recall %", "precision %"], [
        [one["corpus"], one["marked"], one["found"], one["hidden"], one["right"],
         100 * one["found"] / one["marked"], 100 * one["right"] / max(1, one["hidden"])] for one in texts
    ]))  # fmt: skip
    print("presidio by kind:", ", ".join(f"{kind} {a}/{b}" for kind, (a, b) in texts[1]["kinds"].items()))
    rates = speed(corpora / "deid" / "notes-zh", given.quick)
    print(table(["text", "characters/s"], [[name, rate] for name, rate in rates.items()]))
    found = [objects(corpora / "dicom" / name) for name in ("zh", "ms-anonymizer", "pydicom", "pydicom-data")]
    print(table(["objects", "objects/s", "outcome"], [
        [one["folder"], one["per_second"], " ".join(f"{key} {n}" for key, n in one["outcome"].items())] for one in found
    ]))  # fmt: skip
    write(given.results, "scrubbing", {"quick": given.quick, "texts": texts, "speed": rates, "objects": found})


if __name__ == "__main__":
    main()
