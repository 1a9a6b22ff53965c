"""docs/threat-model.md names modules and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def test_every_test_that_the_threat_model_names_exists() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = set(re.findall(r"def (test_\w+)\(", "\n".join(sources)))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 40
    assert named - defined == set()


def test_every_file_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`([\w/-]+\.(?:py|yaml|md))`", TEXT))
    assert named
    assert sorted(path for path in named if not (ROOT / path).is_file()) == []


def test_every_attack_names_what_stops_it_and_a_test_that_holds_it() -> None:
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        if not section.startswith("Attacks"):
            continue
        rows = [row.split("|")[1:-1] for row in section.splitlines() if row.startswith("|")][2:]
        assert rows
        for attack, _, stopped, held in rows:
            assert "`" in stopped, attack
            assert "`test_" in held, attack
