"""A mapping is proposed for a database's tables, written once, and used only where a person names it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from onboarding_engineer import Engineer

from simulators.hisdb import HisDatabase, settings


def test_a_proposed_mapping_is_valid_and_makes_patients_of_the_hospitals_own_columns(
    engineer: Engineer, tmp_path: Path
) -> None:
    file = tmp_path / "his.db"
    HisDatabase(7).grow(file, 0, trouble=False)
    source = {
        "id": "his", "institution": "hospital-east", "kind": "his.sql_tables", "time_zone": "Asia/Shanghai",
        "charset": "gb18030", "settings": settings(str(file)),
    }  # fmt: skip
    path = engineer.sources / "his.yaml"
    path.write_text(yaml.safe_dump(source), "utf-8")
    told = json.loads(engineer.types("source", "profile", "his", "--propose", "his", "--json").output)
    assert [one["name"] for one in told["tables"]] == sorted(settings(str(file))["tables"])
    mapping = engineer.sources / "mappings" / "his.yaml"
    written = mapping.read_bytes()
    assert engineer.types("source", "profile", "his", "--propose", "his", expect=1).errors.count("there already") == 1
    assert mapping.read_bytes() == written
    path.write_text(yaml.safe_dump({**source, "mapping": "his"}), "utf-8")
    shown = engineer.types("source", "preview", "his", "--records", "3").output
    assert "ChargeItem" in shown
    assert "type: Patient" in written.decode()


def test_a_kind_without_tables_gets_no_proposal(engineer: Engineer) -> None:
    source = {"id": "lab", "institution": "lab-centre", "kind": "his.hl7v2_files", "time_zone": "Asia/Shanghai",
              "settings": {"folder": "inbox"}}  # fmt: skip
    (engineer.sources / "lab.yaml").write_text(yaml.safe_dump(source), "utf-8")
    told = engineer.types("source", "profile", "lab", "--propose", "lab", expect=1)
    assert "no mapping" in told.errors
    assert not (engineer.sources / "mappings" / "lab.yaml").exists()
