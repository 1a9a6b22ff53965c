"""What stops an export: nobody, too many, too few alike, a change of mind, a full disk; and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from export_world import EAST, PEOPLE, RESEARCH, VALUES, World, counts, measured, seal, table

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.validators import institution_id
from ledger.contracts.governance import FOR, Propose, Vote
from ledger.contracts.member_changes import Freeze
from ledger.messages.delivery import DeliveryState, allowed_request
from ledger.messages.notice import Notice
from ledger.messages.request_state import RequestState
from schemas.sharing import Code, Cohort, Demands, Ethics
from shangmi import sm3
from sharing.errors import NotYet, Refused
from sharing.export import part, run, standing
from sharing.export.run import Export
from sharing.package import open_package


def export(world: World, tx: bytes, **changes: Any) -> Export:
    holder = share.holder(EAST, world.at)
    return Export(holder, tx, allowed_request(standing.now(holder.replica), tx), patients=10, **changes)


def answer(world: World, tx: bytes) -> str | None:
    """What the chain holds of the east's answer."""
    stored = world.state(DELIVERY, tx + institution_id(EAST))
    return None if stored is None else DeliveryState.decode(stored).answer


def nothing_left(world: World, tx: bytes) -> bool:
    """No package, no work, nothing on the shelf."""
    folder = world.at.home.path / "exports" / EAST
    on_shelf = world.at.client["xinglin_exchange"]["shelf.files"].count_documents({})
    return not on_shelf and not [one for one in folder.rglob("*") if one.is_file()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cohort": Cohort(criteria=((Code("http://loinc.org", "1-1"),),))}, "nobody"),
        ({"cohort": Cohort(ages=(1, 5))}, "nobody"),
        ({"most": 3}, "too-many"),
        ({"demands": Demands(k=4)}, "not-permitted"),
        ({"ethics": Ethics("Ethics committee", "9", (date(2020, 1, 1), date(2021, 1, 1)), sm3(b"9"))}, "not-permitted"),
        ({"views": {"people": PEOPLE}, "demands": Demands(k=60, suppression=0)}, "risk-too-high"),
    ],
)
def test_what_cannot_be_given_is_refused_on_the_chain_with_its_reason(
    world: World, changes: dict[str, Any], said: str
) -> None:
    world.say(EAST, range(20))
    tx = world.submit(replace(world.request(EAST), **changes))
    assert export(world, tx).run() == said
    world.grow()
    assert answer(world, tx) == said
    assert nothing_left(world, tx)
    progress = world.at.vault(EAST).exports.get(tx.hex())
    assert progress is not None
    assert progress.state == "refused"
    assert progress.reason


def test_without_any_statement_nothing_of_a_patient_leaves(world: World) -> None:
    tx = world.submit(world.request(EAST))
    assert export(world, tx).run() == "nobody"
    assert nothing_left(world, tx)


def test_who_withdraws_while_records_are_cut_is_not_in_the_package(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(EAST, range(30))
    tx = world.submit(world.request(EAST))
    packed = run.pack
    rounds: list[int] = []

    def withdrawn(*given: Any) -> Any:
        found = packed(*given)
        rounds.append(len(found.persons))
        if len(rounds) == 1:
            world.say(EAST, (0, 1, 2), sequence=2, withdraw=True)
            world.grow()
        return found

    monkeypatch.setattr(run, "pack", withdrawn)
    assert export(world, tx).run() == "delivered"
    assert rounds == [30, 27], "the parts of those who withdrew were cut anew before anything was announced"
    world.grow()
    assert answer(world, tx) == "delivered"


def test_who_is_erased_while_records_are_cut_is_not_in_the_package(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(EAST, range(12))
    tx = world.submit(world.request(EAST))
    packed = run.pack
    rounds: list[int] = []

    def erased(*given: Any) -> Any:
        found = packed(*given)
        rounds.append(len(found.persons))
        if len(rounds) == 1:
            world.at.vault(EAST).erase(f"{EAST}-0")
        return found

    monkeypatch.setattr(run, "pack", erased)
    assert export(world, tx).run() == "delivered"
    assert rounds == [12, 11]


def test_a_killed_export_goes_on_with_the_parts_that_are_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say(EAST, range(60))
    tx = world.submit(world.request(EAST))
    built: list[Sequence[bytes]] = []
    build = part.Builder.build

    def killed(self: part.Builder, owners: Sequence[bytes]) -> part.Part:
        built.append(owners)
        if len(built) == 4:
            raise KeyboardInterrupt
        return build(self, owners)

    monkeypatch.setattr(part.Builder, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        export(world, tx).run()
    progress = world.at.vault(EAST).exports.get(tx.hex())
    assert progress is not None
    assert (progress.state, progress.done, progress.parts) == ("cutting", 3, 6)
    assert export(world, tx).run() == "delivered"
    assert len(built) == 7, "three parts stood, the fourth was begun twice"


def test_what_lies_on_the_disk_meanwhile_can_be_read_by_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST, views=(PEOPLE, VALUES), ndjson=True))
    seen = b""

    def stop(*_: Any, **__: Any) -> Any:
        nonlocal seen
        folder = world.at.home.path / "exports" / EAST
        seen = b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "gather", stop)
    with pytest.raises(KeyboardInterrupt):
        export(world, tx).run()
    assert len(seen) > 1_000
    for plain in (b"umol/L", b"2160-0", b"resourceType", b"ARROW", b"PAR1"):
        assert plain not in seen


def test_who_is_frozen_between_approval_and_delivery_receives_nothing(world: World) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    freeze = Freeze(institution_id(RESEARCH))
    proposal = world.offer(EAST, Propose, title="an inquiry", change=freeze)
    world.grow()
    for voter in ("hospital-west", "lab-centre", "hospital-district", "nursing-home", "health-commission"):
        world.offer(voter, Vote, proposal=proposal, choice=FOR)
    world.grow()
    assert export(world, tx).run() == "not-permitted"
    world.grow()
    assert answer(world, tx) == "not-permitted"
    assert nothing_left(world, tx)


def test_a_request_whose_file_is_nowhere_waits(world: World) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    holder = share.holder(EAST, world.at)
    found: RequestState = allowed_request(standing.now(holder.replica), tx)
    with pytest.raises(NotYet, match="not on the exchange"):
        Export(holder, tx, replace(found, digest=bytes(32)))
    assert answer(world, tx) is None


def test_ndjson_leaves_out_who_would_be_recognised_in_it(world: World) -> None:
    world.say(EAST, range(40))
    tx = world.submit(world.request(EAST, views=(PEOPLE, VALUES), ndjson=True))
    asked = export(world, tx)
    assert asked.run() == "delivered"
    with open_package(asked.path, world.at.keystore(RESEARCH).signing_key.decrypt) as opened:
        names = opened.manifest.sections
        lines = opened.read("resources/Patient.ndjson").splitlines()
        assert {one.name for one in names} >= {"resources/Patient.ndjson", "resources/Observation.ndjson"}
        assert 0 < len(lines) <= 40
        left = counts(opened.manifest.excluded).get(("risk", "resources"), 0)
        assert left == 4 * (40 - len(lines))


def test_records_outside_the_period_are_left_out_and_counted(world: World) -> None:
    world.say(EAST, range(20))
    late = [[measured(f"{EAST}-{one}", 9, "2160-0", 70.0, 11)] for one in range(20)]
    seal(world.at.vault(EAST), late, f"{EAST}-his")
    cohort = Cohort(period=(date(2026, 3, 1), date(2026, 3, 31)))
    tx = world.submit(world.request(EAST, cohort=cohort))
    asked = export(world, tx)
    finished, packed = asked._package()
    assert packed.excluded["cohort", "outside-period"] == 60 * 2 + 20
    assert finished.records == 20


def test_rows_called_back_are_gone_from_the_package_that_is_cut_anew(world: World) -> None:
    world.say(EAST, range(30))
    tx = world.submit(world.request(EAST))
    assert export(world, tx).run() == "delivered"
    world.grow()
    with pytest.raises(Refused, match="no patient"):
        export(world, world.submit(world.request(EAST, cohort=Cohort(ages=(1, 2)))), again=True).recut()
    world.say(EAST, range(6), sequence=2, withdraw=True)
    world.say(EAST, range(30, 40))
    world.offer(EAST, Notice, request=tx, holder=institution_id(EAST), step="raised", affected=10)
    world.grow()
    before = share.holder(EAST, world.at).vault.shares.owners(tx)
    finished = export(world, tx, again=True).recut()
    assert len(before) == 30
    assert finished.records == 24 * 3, "who came since is not in it"
    world.grow()
    shelf = share.holder(EAST, world.at).shelf
    path = world.at.home.path / "again.xld"
    shelf.get(finished.package, path, finished.size)
    with open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt) as opened:
        assert opened.manifest.persons == 24


def test_a_record_that_does_not_fit_a_view_is_left_out_and_the_rest_goes_on(world: World) -> None:
    world.say(EAST, range(20))
    twice = measured(f"{EAST}-0", 7, "2160-0", 70.0, 5)
    twice.body["code"]["coding"].append({"system": "http://loinc.org", "code": "2345-7"})
    seal(world.at.vault(EAST), [[twice]], f"{EAST}-his")
    every = {"name": "code", "path": "code.coding.code", "type": "string"}
    strict = {**VALUES, "name": "strict", "select": [{"column": [every]}]}
    tx = world.submit(world.request(EAST, views=(strict,)))
    _, packed = export(world, tx)._package()
    assert packed.excluded["project", "strict-does-not-fit"] == 1
    assert [one.rows for one in packed.tables] == [20 * 3]


def test_who_stands_out_over_two_tables_together_leaves_neither(world: World) -> None:
    """In each table everybody is like five others; joined by pseudonym hardly anybody is."""
    world.say(EAST, range(60))
    sexes = select("sexes", "gender", "sex")
    years = select("years", "birthDate.substring(0, 4)", "year")
    tx = world.submit(world.request(EAST, views=(sexes, years), demands=Demands(k=20, suppression=0)))
    _, packed = export(world, tx)._package()
    with open_package(export(world, tx).path, world.at.keystore(RESEARCH).signing_key.decrypt) as opened:
        joined = [table(opened, name).set_index("patient") for name in ("sexes", "years")]
    alike = joined[0].join(joined[1]).value_counts(["sex", "year"])
    assert alike.sum() == 60
    assert alike.min() >= 20
    assert "all tables together" in packed.risk


def select(name: str, path: str, column: str) -> dict[str, Any]:
    """A view of one quasi-identifier."""
    tag = [{"name": "xinglin/role", "value": "quasi-identifier"}]
    own = {"name": column, "path": path, "type": "string", "tag": tag}
    whose = {"name": "patient", "path": "getResourceKey()", "type": "string"}
    return {**PEOPLE, "name": name, "select": [{"column": [whose, own]}]}
