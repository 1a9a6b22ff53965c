"""Golden pairs that a clinician can read: one HL7 message, and what it becomes.

After a deliberate change of the mapping, write them anew and read the difference:
``XINGLIN_WRITE_GOLDEN=1 python -m pytest tests/normalise/test_normalise_golden.py``, then ``git diff tests/golden``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from normalise.hl7v2 import MAPPING, convert
from schemas.records import SourceContext

FOLDER = Path(__file__).parent.parent / "golden" / "hl7v2"
CONTEXT = SourceContext("golden", "golden-hospital", "Asia/Shanghai")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.hl7")), ids=lambda path: path.stem)
def test_message_becomes_its_golden_resources(path: Path) -> None:
    found = convert(path.read_bytes(), CONTEXT)
    whole = {
        "resources": [
            {"segment": one.segment, "mode": one.mode, "patient": one.patient, "body": one.body}
            for one in found.resources
        ],
        "notes": [{"code": one.code, "where": one.where, "message": one.message} for one in found.notes],
    }
    text = json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True).replace(MAPPING, "MAPPING") + "\n"
    golden = path.with_suffix(".json")
    if os.environ.get("XINGLIN_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_golden_message_has_its_pair() -> None:
    assert {one.stem for one in FOLDER.glob("*.hl7")} == {one.stem for one in FOLDER.glob("*.json")}
