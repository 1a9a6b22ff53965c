"""docs/ledger-invariants.md names tests that exist, every invariant, and the mutants that there are."""

from __future__ import annotations

import re
from pathlib import Path

from mutants import MUTANTS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "ledger-invariants.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = section.split("|---|", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_every_test_that_the_page_names_exists() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = set(re.findall(r"def (test_\w+)\(", "\n".join(sources)))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 70
    assert named - defined == set()


def test_every_invariant_has_its_tests() -> None:
    table = rows("Invariants")
    assert [int(number) for number, *_ in table] == list(range(1, 34))
    assert all("`test_" in tests for _, _, tests in table)


def test_the_table_of_variants_is_that_of_the_code() -> None:
    expected = [[name, one.section, one.variant, f"`{one.killed_by}`"] for name, one in MUTANTS.items()]
    assert rows("Naive variants") == expected


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(\w+\.py)`", TEXT))
    there = {path.name for path in (ROOT / "tests" / "ledger").rglob("*.py")}
    assert len(named) > 6 and named <= there
    assert all((ROOT / "docs" / path).is_file() for path in re.findall(r"\]\((decisions/[\w-]+\.md)\)", TEXT))
