"""A stay in hospital that a clinician can read, and what leaves of it under each profile.

After a wanted change: ``XINGLIN_WRITE_GOLDEN=1 python -m pytest tests/deidentify/test_deid_golden.py``, then
``git diff tests/golden/deid``, and read it as a patient would.
"""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quality.invariants import check_invariants
from quality.structure import check_structure
from sharing.deidentify import Deidentifier, load_profile, profile_names

FOLDER = Path(__file__).parent.parent / "golden" / "deid"
STAY: list[dict[str, Any]] = json.loads((FOLDER / "stay-zh.json").read_text(encoding="utf-8"))
#: A secret for this test; a dataset's own is random and is shown to nobody.
SECRET = bytes(range(32))


def written(name: str, text: str) -> str:
    path = FOLDER / name
    if os.environ.get("XINGLIN_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("profile", profile_names())
def test_a_stay_becomes_its_golden_resources_and_report(profile: str) -> None:
    chosen = load_profile(profile)
    one = Deidentifier(chosen, SECRET, today=date(2026, 11, 23))
    left = [found for body in STAY if (found := one.resource(body, b"Patient/ouyang-jing")) is not None]
    text = json.dumps(left, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    assert text == written(f"stay-zh.{profile}.json", text)
    said = "\n".join(one.report.sentences(chosen.sentences())) + "\n"
    assert said == written(f"stay-zh.{profile}.txt", said)
    for secret in (
        "欧阳",
        "静",
        "钱医生",
        "1990",
        "110199",
        "0090451867",
        "科苑路",
        "ZY00000016",
        "D1024",
        "999.2",
        "03-17",
    ):
        assert secret not in text + said
    assert all(check_structure(body) is None and check_invariants(body) is None for body in left)


def test_the_stay_itself_is_what_a_hospital_may_seal() -> None:
    assert [check_structure(body) for body in STAY] == [None] * len(STAY)
    assert [check_invariants(body) for body in STAY] == [None] * len(STAY)
