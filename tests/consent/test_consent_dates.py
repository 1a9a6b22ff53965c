"""When a record's content happened: the table is sound, and every form of a FHIR date is read whole."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schemas
from ledger.messages.provisions import FOREVER
from quality.definitions import is_resource_type
from sharing.consent import dated, extent
from sharing.consent.dates import nobodys, table

DAY = 86_400_000
TENTH = 1_794_240_000_000  # 2026-11-10 in the region begins
FOLDER = Path(schemas.__file__).parent / "consent"


def observation(**changes: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", **changes}


def test_the_table_keeps_its_schema_names_real_types_once_and_real_elements() -> None:
    jsonschema.validate(table(), json.loads((FOLDER / "dates.schema.json").read_text()))
    named = [one for row in (*table()["dated"], *table()["nobodys"]) for one in row["types"]]
    assert len(named) == len(set(named)) and all(map(is_resource_type, named))
    elements = set((FOLDER.parent / "fhir" / "elements.csv").read_text().split())
    known = {line.split(",")[0] for line in elements}
    for row in table()["dated"]:
        for element in row["elements"]:
            for name in [element] if isinstance(element, str) else element:
                places = {f"{one}.{name}" for one in row["types"]}
                plain = {place for place in places if any(_stands(place, one) for one in known)}
                assert plain, f"no type of {row['types']} has {name}"


def _stands(place: str, known: str) -> bool:
    """effectiveDateTime stands in the definitions as effective[x]."""
    return known == place or (known.endswith("[x]") and place.startswith(known[:-3]))


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("2026-11-10", 0, DAY),
        ("2026-11", -9 * DAY, 30 * DAY),
        ("2026-11-10T08:30:00+08:00", 510 * 60_000, 1_000),
        ("2026-11-10T00:30:00Z", 510 * 60_000, 1_000),
        ("2026-11-10T08:30+08:00", 510 * 60_000, 60_000),
        ("2026-11-10T08:30:00.25+08:00", 510 * 60_000 + 250, 1),
        ("2026-11-10T08:30:00.123456789+08:00", 510 * 60_000 + 123, 1),
        ("2026-11-09T23:59:60+08:00", -1_000, 1_000),
    ],
)
def test_a_date_means_all_the_time_that_it_leaves_open(text: str, start: int, length: int) -> None:
    assert extent(observation(effectiveDateTime=text)) == (TENTH + start, TENTH + start + length)


@pytest.mark.parametrize(
    "text", ["", "10.11.2026", "2026-13", "2026-02-30", "2026-11-10T25:00:00Z", "20261110", "２０２６"]
)
def test_what_is_no_date_is_no_date(text: str) -> None:
    assert extent(observation(effectiveDateTime=text)) is None
    assert dated(observation(effectiveDateTime=text)) is None


def test_what_is_of_another_shape_is_no_date_and_nothing_breaks() -> None:
    for value in (3, None, [], {}, ["2026"], {"start": 4}, {"event": "2026"}, {"event": [5]}, {"repeat": []}):
        assert extent(observation(effectivePeriod=value, effectiveDateTime=value, effectiveTiming=value)) is None
    assert extent({}) is None is extent({"resourceType": "Patient", "birthDate": "1980-01-01"})
    assert extent({"resourceType": "Specimen", "collection": ["2026"]}) is None


def test_a_period_without_an_end_lasts_and_one_without_a_beginning_was_always() -> None:
    visit = {"resourceType": "Encounter", "period": {"start": "2026-11-10"}}
    assert extent(visit) == (TENTH, FOREVER)
    assert dated(visit) == (date(2026, 11, 10), date.max)
    over = {"resourceType": "Encounter", "period": {"end": "2026-11-10"}}
    assert extent(over) == (0, TENTH + DAY)
    assert dated(over) == (date.min, date(2026, 11, 10))


def test_the_time_of_the_patient_comes_before_the_time_of_the_paper() -> None:
    both = {"effectiveDateTime": "2026-11-10", "issued": "2026-11-20T00:00:00Z"}
    assert dated(observation(**both)) == (date(2026, 11, 10), date(2026, 11, 10))
    assert dated(observation(issued=both["issued"])) == (date(2026, 11, 20), date(2026, 11, 20))


def test_timings_and_two_elements_make_one_extent() -> None:
    events = {"event": ["2026-11-12", "2026-11-10", "rubbish"]}
    assert dated(observation(effectiveTiming=events)) == (date(2026, 11, 10), date(2026, 11, 12))
    bounds = {"repeat": {"boundsPeriod": {"start": "2026-11-10", "end": "2026-11-11"}}}
    assert dated(observation(effectiveTiming=bounds)) == (date(2026, 11, 10), date(2026, 11, 11))
    visit = {"resourceType": "Appointment", "start": "2026-11-10T08:00:00+08:00", "end": "2026-11-10T09:00:00+08:00"}
    assert extent(visit) == (TENTH + 480 * 60_000, TENTH + 540 * 60_000 + 1_000)


def test_what_happened_before_1970_or_at_the_end_of_time_is_in_reach() -> None:
    assert extent(observation(effectiveDateTime="1965-05-01")) == (0, 1)
    assert dated(observation(effectiveDateTime="0001-01-01")) == (date.min, date.min)
    assert dated(observation(effectiveDateTime="9999-12-30")) == (date(9999, 12, 30), date(9999, 12, 30))
    assert dated(observation(effectiveDateTime="9999")) in (None, (date(9999, 1, 1), date(9999, 12, 31)))


def test_who_treats_and_where_has_no_date_by_design() -> None:
    assert {"Organization", "Practitioner", "Location"} <= nobodys()
    assert "Patient" not in nobodys()
