"""The dry run counts what a holder would have, as its statements let it go, in tens and never a few."""

from __future__ import annotations

import random
import sys
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest
from asking import REQUEST

sys.path.append(str(Path(__file__).parents[1] / "export"))  # its patients are sealed as the exports' tests seal theirs

from export_world import EAST, GLUCOSE, LOINC, PERMIT, VALUES, World, person, seal

from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.validators import institution_id
from schemas.sharing import Code, Cohort, DatasetRequest
from sharing.consent import Cutter
from sharing.errors import Malformed
from sharing.request.preview import Preview, preview

ASKED = replace(
    REQUEST, requester="research-institute", holders=(EAST,), views={"values": VALUES},
    cohort=Cohort(((Code(LOINC, GLUCOSE),),), (date(2026, 1, 1), None)),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(at: Site) -> World:
    """Thirty patients of the eastern hospital, of whom twenty-four permit research."""
    made = World(at)
    chance = random.Random(5)
    seal(at.vault(EAST), (person(EAST, number, chance) for number in range(30)), f"{EAST}-his")
    made.say(EAST, range(24), provisions=(PERMIT,))
    carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.voters if one.weight > 1])
    return made


def found(world: World, request: DatasetRequest) -> Preview:
    view = world.at.replica(EAST).view
    requester = view.roster.registration(institution_id(request.requester))
    assert requester is not None
    cutter = Cutter(view, institution_id(EAST), requester, request.purpose, view.head.timestamp_ms + 1)
    return preview(world.at.vault(EAST), request, cutter)


def test_persons_records_and_rows_are_told_in_tens(world: World) -> None:
    assert asdict(found(world, ASKED)) == {
        "persons": "30", "permitted": "20", "records": "70", "rows": {"values": "70"}, "most_exceeded": False,
    }  # fmt: skip


def test_a_period_cuts_records_and_more_than_asked_for_is_said(world: World) -> None:
    only_may = replace(ASKED.cohort, criteria=(), period=(date(2026, 5, 1), date(2026, 5, 31)))
    assert found(world, replace(ASKED, cohort=only_may)).rows == {"values": "20"}
    assert found(world, replace(ASKED, most=71)).most_exceeded
    assert not found(world, replace(ASKED, most=72)).most_exceeded


def test_few_persons_hide_every_number_behind_them(world: World) -> None:
    few = replace(ASKED, cohort=replace(ASKED.cohort, sexes=("male",), ages=(60, 70)))
    shown = found(world, few)
    assert (shown.persons, shown.permitted, shown.records, shown.rows) == ("<10", "<10", "<10", {"values": "<10"})


def test_a_purpose_that_nobody_permits_finds_nobody(world: World) -> None:
    assert found(world, replace(ASKED, purpose="claims")).permitted == "<10"


def test_a_view_that_fits_no_record_says_where(world: World) -> None:
    wrong = {**VALUES, "select": [{"column": [{"name": "codes", "path": "code.coding.code | 'x'"}]}]}
    with pytest.raises(Malformed, match="select"):
        found(world, replace(ASKED, views={"values": wrong}))
