"""What every benchmark shares: its options, its table, its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench-results"
CORPORA = Path(os.environ.get("XINGLIN_CORPORA", ROOT.parent / "shared" / "corpora")) / "hl7v2"
#: Exit code of a benchmark that cannot run here: what it reads or compares with is not there.
SKIPPED = 3


def options(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark; SIGTERM ends the script as an error would.

    Without that, what a script has started (a mongod, workers) would outlive a runner's patience.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, measures little")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    return parser


def need_corpora() -> None:
    """End the script where the corpora are not there, with a sentence that says what to do."""
    if not CORPORA.is_dir():
        print(f"skipped: no corpora at {CORPORA}; set XINGLIN_CORPORA to the folder that holds hl7v2/", file=sys.stderr)
        sys.exit(SKIPPED)


def write(folder: Path, name: str, report: dict[str, Any]) -> None:
    """``folder/<name>.json`` holds the report and the machine it was measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**report, "machine": machine()}, indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what the figures depend on; a load above the number of cores means that others were measured too."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": [round(one, 1) for one in os.getloadavg()],
    }


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines of aligned columns: numbers to the right, texts to the left.

    Integers get thousands separators, floats three digits that count; None is left empty.
    """
    body = list(rows)
    cells = [[figure(one) for one in row] for row in body]
    widths = [max(len(line[at]) for line in [list(headings), *cells]) for at in range(len(headings))]
    left = [all(isinstance(row[at], str | None) for row in body) for at in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if aligned else cell.rjust(width)
            for cell, width, aligned in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in [list(headings), *cells]
    )


def figure(value: object) -> str:
    """Return a value as tables show it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
