"""Every benchmark runs at its small sizes, prints figures and leaves JSON; what the figures are worth is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from console.kinds import KINDS

ROOT = Path(__file__).parents[2]


def run(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments, "--quick", "--results", str(results)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def figures(results: Path, name: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON and the terminal's lines of one run."""
    done = run(results, *(arguments or ("-m", "benchmarks", name)))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    assert report["quick"] is True
    assert report["machine"]["cores"] > 0
    return report, done.stdout


@pytest.mark.mongo
def test_the_whole_flow_is_measured_part_by_part(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "flow_speed")
    (size,) = report["sizes"]
    assert size["final"]
    assert size["sealed"] == size["messages"]
    assert size["resources"] > size["messages"]
    assert 0 < size["worker_peak_mib"] <= 1024
    assert list(size["parts"]) == ["land", "process", "reconcile", "submit", "notarise", "settle"]
    for part, told in size["parts"].items():
        assert told["cost"]["wall"] > 0
        assert f"\n{part} " in printed
    assert "resources/s" in printed


@pytest.mark.mongo
def test_the_ledger_is_measured_to_the_commit_certificate_and_proofs_are_verified(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "ledger_speed")
    for size in report["sizes"]:
        assert size["entries_per_second"] > 0
        assert size["entries_per_second_side_by_side"] > 0 and size["entries_per_second_own_machines"] > 0
        assert sum(size["share"].values()) == pytest.approx(1, abs=0.01)
        assert sum(size["work"].values()) == pytest.approx(1, abs=0.01) and size["work"]["hashing"] > 0
        assert 0 < size["proofs"]["verify_ms"] <= size["proofs"]["verify_ms_slowest"]
    assert "entries/s" in printed
    assert "verify ms" in printed


@pytest.mark.mongo
def test_an_entrys_cost_is_measured_on_chains_of_two_lengths_and_a_newcomer_catches_up(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "ledger_growth")
    assert [one["blocks"] for one in report["growth"]] == [10, 40]
    for one in report["growth"]:
        assert one["entry_us"] == pytest.approx(sum(one["steps_us"].values()), abs=0.05)
    assert [one["entries"] > 0 < one["blocks_per_second"] for one in report["catch_up"]] == [True, True]
    assert "us an entry" in printed and "blocks/s" in printed


def test_conversion_is_measured_without_the_peer_where_that_is_asked_for(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "convert_speed", "benchmarks/convert_speed.py", "--alone")
    (ours,) = report["converters"]
    assert ours["messages_per_second"] > 0
    assert ours["refused"] == 0
    assert report["ratio_median"] is None
    assert "messages/s" in printed


@pytest.mark.conformance
@pytest.mark.usefixtures("corpora")
def test_the_corpora_are_converted_and_compared(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "convert_corpora")
    assert set(report["corpora"]) == {"hl7v2", "cda", "fhir", "dicom", "his-sql", "wearables"}
    for found in report["corpora"].values():
        assert (found["tracebacks"], found["files_without_an_answer"], found["wrong"]) == (0, 0, 0)
        assert sum(one["files"] for one in found["strata"].values()) == found["files"] > 0
        assert sum(found["resources"].values()) > 0
    assert "by code" in printed
    facts, printed = figures(tmp_path, "hl7v2_facts")
    assert facts["all"]["both"] > 0
    assert "recall" in printed


@pytest.mark.conformance
@pytest.mark.usefixtures("corpora")
def test_every_kind_is_measured_and_large_inputs_take_bounded_memory(tmp_path: Path) -> None:
    report, printed = figures(tmp_path, "kinds_speed")
    assert {one["kind"].split()[0] for one in report["kinds"]} == set(KINDS)
    for one in report["kinds"]:
        assert one["records_a_second"] > 0
        assert one["peak_mib"] > 0
    for name, pulls in report["large"].items():
        for one in pulls:
            assert one["record_bytes"] + one["bulk_bytes"] > 0.9 * one["input_bytes"]
            assert one["peak_mib"] - one["mib_before"] < report["bounds_mib"][name]
    assert "bound MiB" in printed


def test_missing_corpora_are_a_skip_that_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_CORPORA", str(tmp_path / "nowhere"))
    done = run(tmp_path / "results", "-m", "benchmarks", "convert_corpora", "hl7v2_facts")
    assert done.returncode == 0
    assert done.stderr.count("set XINGLIN_CORPORA") == 2
    assert not (tmp_path / "results").exists()


def test_an_unknown_name_is_a_usage_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    done = run(tmp_path / "results", "-m", "benchmarks", "flow_sped")
    assert done.returncode == 2
    assert "no benchmark flow_sped; there are convert_speed," in done.stderr
    assert not (tmp_path / "results").exists()


def test_invented_messages_are_of_the_documented_size_all_different_and_without_a_remark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from oru import messages

    from normalise.hl7v2 import convert
    from schemas.records import SourceContext

    made = list(messages(500))
    assert len(set(made)) == 500
    assert all(1_200 <= len(one) <= 1_450 and one.count(b"\r") == 14 for one in made)
    context = SourceContext("bench", "hospital-east", "Asia/Shanghai")
    assert {convert(one, context).notes for one in made} == {()}


def test_a_cost_that_grows_and_a_worker_over_its_memory_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import flow_speed

    def size(messages: int, seconds: float, peak: float) -> dict[str, Any]:
        cost = {"wall": 2 * seconds, "cpu": seconds, "mongod": seconds, "peak_mib": peak}
        results = {
            "process": {"batches": [cost, cost]},
            "reconcile": {"sealed": messages},
            "submit": {"entries": 14 * messages, "batches": 1},
            "notarise": {"blocks": 1}, "settle": {"final": 1},
        }  # fmt: skip
        parts = {part: {"cost": cost, "result": results.get(part, {})} for part in flow_speed.PARTS}
        return {"messages": messages, **flow_speed.figures(messages, parts), "parts": parts}

    sizes = [size(10, 1, 1000), size(100, 15, 1025)]
    grown = flow_speed.growth(sizes)
    assert (grown["cpu"], grown["wall"], grown["cpu_by_part"]["process"]) == (1.5, 1.5, 1.5)
    assert grown["cpu_by_batch"] == [30, 30]
    assert flow_speed.faults(sizes) == ["100 messages: process() took 1025 MiB, over 1024"]
