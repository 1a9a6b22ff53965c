"""The projection benchmark runs and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "projection.py"


def test_projection_is_measured_without_the_peers_where_that_is_asked_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--alone", "--results", str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads((tmp_path / "projection.json").read_text(encoding="utf-8"))

    assert [one["view"] for one in report["projections"]] == ["flat", "unnested", "laboratory_results"]
    assert all(one["rows"] >= report["resources"] > 0 < one["rows_per_cpu_second"] for one in report["projections"])
    assert "rows/CPU s" in done.stdout
