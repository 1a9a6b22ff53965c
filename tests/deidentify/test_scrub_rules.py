"""The rules themselves: each has a reason, none can take more than linear time, words are none of people's names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharing.deidentify.imaging_rules import devices
from sharing.deidentify.scrubbing import TOKENS
from sharing.deidentify.scrubbing_data import rules, words

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "schemas" / "deidentify"


@pytest.mark.parametrize("name", ["patterns", "dates"])
def test_every_pattern_has_an_id_a_reason_and_bounds(name: str) -> None:
    seen = set()
    for one in rules(name)["patterns"]:
        assert one["reason"] and one["id"] not in seen
        seen.add(one["id"])
        assert one.get("kind", "DATE") in TOKENS
        bare = re.sub(r"\[(?:\\.|[^\]\\])*\]", "", re.sub(r"\\.", "", one["pattern"]))
        assert not re.search(r"[*+](?!\))", bare.replace("(?=", "").replace("(?!", "")), one["id"]


@pytest.mark.parametrize("path", ["text/names.yaml", "text/places.yaml", "imaging/elements.yaml"])
def test_every_list_has_a_reason(path: str) -> None:
    content = yaml.safe_load((FOLDER / path).read_text("utf-8"))
    for name, listed in content.items():
        assert not isinstance(listed, dict) or listed.get("reason") or any("reason" in one for one in values(listed)), (
            name
        )


def values(listed: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in listed.values() if isinstance(one, dict)]


def test_words_that_are_built_like_names_hold_no_frequent_name() -> None:
    assert len(words()) > 2_000
    assert not words() & {
        "王伟",
        "李娜",
        "张敏",
        "刘洋",
        "陈静",
        "杨勇",
        "赵磊",
        "黄丽",
        "周杰",
        "王秀英",
        "李建国",
        "张桂英",
    }


def test_every_device_says_who_measured_it_and_where_it_writes() -> None:
    for device in devices():
        assert device["source"] and device["when"] and device["black"]
        assert all(len(box) == 4 and min(box) >= 0 and box[2] and box[3] for box in device["black"])


@pytest.mark.conformance
def test_the_benchmark_prints_recall_precision_and_speed(tmp_path: Path, corpora: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "scrubbing.py"), "--quick", "--results", str(tmp_path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "recall %" in done.stdout and "objects/s" in done.stdout
    report = json.loads((tmp_path / "scrubbing.json").read_text("utf-8"))
    assert report["texts"][0]["found"] == report["texts"][0]["marked"] > 0
