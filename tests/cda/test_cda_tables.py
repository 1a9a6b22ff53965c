"""The tables: all of them compile, nothing in them is unused, and a wrong cell says where it is."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

import normalise.cda.statements  # noqa: F401 - enters what tables may name
from normalise.cda import tables
from normalise.cda.datatypes import MAKERS, READERS
from normalise.cda.engine import REFERENCES, TABLE_READERS, Mapper, mapper
from normalise.cda.paths import find, guard
from quality.definitions import is_resource_type

ROOT = Path(__file__).parents[2]
TABLES = sorted(
    path.relative_to(tables.FOLDER).with_suffix("").as_posix()
    for folder in ("entries", "header")
    for path in (tables.FOLDER / folder).glob("*.csv")
)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_compiles(table: str) -> None:
    assert Mapper(table).type


def cells(column: str) -> list[str]:
    return [row[column] for table in TABLES for row in tables.rows(f"{table}.csv")]


def test_every_table_is_read_by_something() -> None:
    named = {rule.table for rule in tables.ENTRIES} | {one.table for one in tables.DATA_ELEMENTS.values()}
    named |= {
        match[1].removeprefix("entries/") for cell in cells("type") if (match := re.search(r"\(([\w/-]+)\)", cell))
    }
    entries = {one.removeprefix("entries/") for one in TABLES if one.startswith("entries/")}
    assert entries - named == set()
    for name in {rule.table for rule in tables.ENTRIES if rule.table}:
        assert is_resource_type(mapper(f"entries/{name}").type)


def test_every_vocabulary_and_template_that_is_named_is_there_and_used() -> None:
    used = set(cells("vocabulary")) - {""}
    code = "".join(path.read_text("utf-8") for path in Path(tables.__file__).parent.glob("*.py"))
    assert {one for one in tables.VOCABULARIES if one not in used and f'"{one}"' not in code} == set()
    text = "".join((tables.FOLDER / f"{one}.csv").read_text("utf-8") for one in [*TABLES, "entries"])
    unused = {one for one in tables.TEMPLATES if not re.search(rf"\b{one}\b", text)}
    assert unused == set()


def test_every_section_that_entries_name_is_a_section() -> None:
    keys = {rule.key for rule in tables.SECTIONS.values()}
    assert {one for rule in tables.ENTRIES for one in rule.section} <= keys


@pytest.mark.parametrize("path", ["a//b", "a[b", "a{Nothing}", "{x}", "1.2"])
def test_path_that_cannot_be_read_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|templates\.csv"):
        find(path)


@pytest.mark.parametrize("condition", ["a", "a is", "a valued x", "a@b valued", "a is b", "valued and"])
def test_condition_that_cannot_be_read_is_an_error(condition: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        guard(condition)


def test_every_type_is_described_and_every_row_of_the_page_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "mapping.md").read_text("utf-8").split("## CDA documents")[1]
    told = set(re.findall(r"`([A-Za-z.]+)(?:\([^)]*\))?`", page))
    assert set(READERS) | set(MAKERS) | set(REFERENCES) | set(TABLE_READERS) <= told
    for name in ("vocabularies", "sections", "entries", "documents", "units", "assigners"):
        assert f"`{name}.csv`" in page
    rows = [next(csv.reader(io.StringIO(one))) for one in re.findall(r"```csv\n(.*?)\n```", page)]
    assert [len(row) for row in rows] == [6, 9]
    folder = tmp_path / "entries"
    folder.mkdir()
    (folder / "New-Condition.csv").write_text(
        "from,to,type,vocabulary,when,comment\n" + ",".join(rows[0]) + "\n", encoding="utf-8"
    )
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    assert Mapper("entries/New-Condition").type == "Condition"


def test_wrong_cell_says_which_table_and_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    for row, said in (
        ("id,identifier[],Nothing,,,", "type 'Nothing' is not known"),
        ("id,identifier[],code,Nothing,,", "vocabulary 'Nothing'"),
        ("id,identifier..x,Identifier,,,", "path"),
        ("=x,status,CodeableConcept,,,", "constant 'x'"),
    ):
        (tmp_path / "Bad-Condition.csv").write_text(f"from,to,type,vocabulary,when,comment\n{row}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"Bad-Condition\.csv: ") as caught:
            Mapper("Bad-Condition")
        assert said in str(caught.value)
    (tmp_path / "Bad-Condition.csv").write_text("from,to,type,vocabulary,when,comment\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="wrong number of cells"):
        Mapper("Bad-Condition")
