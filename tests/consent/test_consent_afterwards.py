"""After an export: who is in which dataset, who withdrew, and that its holder hears of it once and of nobody's name."""

from __future__ import annotations

import pytest
from consent_world import EAST, WEST, ConsentWorld, deny, grant, withdraw
from vault_world import everything

from ledger.chain.state import NOTICE
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Refused
from ledger.messages.notice import Notice, NoticeState
from ledger.messages.provisions import Provision
from shangmi import sm3
from sharing.consent.desk import datasets
from sharing.consent.filing import file_many, file_one
from sharing.consent.notices import called_back, post_notice, raise_notices

REQUEST, OTHER = sm3(b"request"), sm3(b"another")


def standing(world: ConsentWorld, request: bytes) -> NoticeState | None:
    found = world.region.node("lab-centre").replica.view.state(NOTICE, request + EAST)
    return None if found is None else NoticeState.decode(found)


def marks(world: ConsentWorld) -> list[bool]:
    return [one.told for one in world.vault.shares.narrowed()]


def permitted(world: ConsentWorld, count: int) -> list[str]:
    ids = world.admit(count)
    file_many(world.desk, [grant(one) for one in ids])
    world.block()
    return ids


def say(world: ConsentWorld, institution: str, **content: object) -> None:
    node = world.region.node(institution)
    post_notice(node, world.region.exchange, node.replica, holder=EAST, **content)
    world.block()


def test_who_is_in_which_dataset_is_noted_once_and_without_names(world: ConsentWorld) -> None:
    ids = world.admit(3)
    owners = [world.vault.consents.owner(one) for one in ids]
    for _ in range(2):
        world.vault.shares.note(REQUEST, owners)
    world.vault.shares.note(OTHER, owners[:1])
    assert world.vault.shares.of(owners[0]) == sorted((REQUEST, OTHER))
    assert world.vault.shares.owners(REQUEST) == sorted(owners)
    assert world.vault.shares.of(bytes(16)) == [] == world.vault.shares.owners(sm3(b"none"))
    stored = str(everything(world.vault.shares._shares.database)["shares"])
    assert all(one not in stored for one in ids)


def test_a_withdrawal_names_the_patients_datasets_and_their_holder_is_told_in_fives(world: ConsentWorld) -> None:
    ids = permitted(world, 3)
    request = world.delivered(ids)
    (found,) = datasets(world.desk, world.desk.replica.view, [world.vault.consents.owner(ids[0])])
    assert (found.request, found.requester, found.purpose) == (request, "hospital-west", "research")
    assert found.delivered > 0
    file_one(world.desk, withdraw(ids[0]))
    assert raise_notices(world.desk) == []  # nothing stands yet, and the chain is told of nothing
    world.block()
    (told,) = raise_notices(world.desk)
    assert (told.request, told.requester, told.persons, told.stage) == (request, "hospital-west", 5, "offered")
    assert raise_notices(world.desk) == []  # it waits for a block already
    world.block()
    state = standing(world, request)
    assert state is not None and (state.stage, state.affected) == ("raised", 5)
    assert raise_notices(world.desk) == [] and marks(world) == [True]
    assert not world.region.exchange.submissions()


def test_the_second_person_of_five_is_told_of_by_the_notice_that_stands(world: ConsentWorld) -> None:
    ids = permitted(world, 7)
    request = world.delivered(ids)
    for one in ids[:2]:
        file_one(world.desk, withdraw(one))
        world.block()
        raised = raise_notices(world.desk)
        assert bool(raised) == (one == ids[0])
        if raised:
            world.block()
    raise_notices(world.desk)
    assert marks(world) == [True, True]
    file_many(world.desk, [withdraw(one) for one in ids[2:]])
    world.block()
    raise_notices(world.desk)
    world.block()
    state = standing(world, request)
    assert state is not None and state.affected == 10


def test_a_package_cut_anew_is_put_in_place_and_a_later_withdrawal_calls_back_again(world: ConsentWorld) -> None:
    ids = permitted(world, 2)
    request = world.delivered(ids)
    file_one(world.desk, withdraw(ids[0]))
    world.block()
    raise_notices(world.desk)
    world.block()
    say(world, "hospital-east", request=request, step="recut", package=sm3(b"new"), manifest=sm3(b"new manifest"))
    say(world, "hospital-west", request=request, step="replaced", package=sm3(b"new"))
    (found,) = called_back(world.region.node("hospital-west").replica, WEST)
    assert (found.stage, found.package, found.holder) == ("replaced", sm3(b"new").hex(), "hospital-east")
    assert called_back(world.region.node("hospital-west").replica, EAST) == []
    assert called_back(world.region.node("hospital-west").replica, EAST, "holder") == [found]
    raise_notices(world.desk)
    file_one(world.desk, withdraw(ids[1]))
    world.block()
    assert len(raise_notices(world.desk)) == 1
    world.block()
    state = standing(world, request)
    assert state is not None and (state.stage, state.package) == ("raised", ZERO_DIGEST)
    say(world, "hospital-west", request=request, step="deleted")
    with pytest.raises(Refused):
        say(world, "hospital-west", request=request, step="deleted")


def test_only_what_is_taken_back_from_that_dataset_calls_it_back(world: ConsentWorld) -> None:
    ids = permitted(world, 4)
    world.delivered(ids)
    file_one(world.desk, grant(ids[0], Provision(True, frozenset({"care"}))))
    file_one(world.desk, deny(ids[1], Provision(False, frozenset({"claims"}))))
    file_one(world.desk, deny(ids[2], Provision(False, institutions=(EAST,))))
    assert marks(world) == []
    file_one(world.desk, deny(ids[3], Provision(False, types=(14,), institutions=(WEST,))))
    assert marks(world) == [False]


def test_a_withdrawal_that_never_stood_calls_nothing_back(world: ConsentWorld) -> None:
    ids = permitted(world, 1)
    world.delivered(ids)
    file_one(world.desk, withdraw(ids[0]))
    ((tx, leaves),) = world.region.exchange.submissions()
    world.region.exchange.retire_submission(tx, leaves)  # lost on its way
    world.region.grow(3, count=1)
    assert raise_notices(world.desk) == [] and marks(world) == []
    state = world.state(ids[0])
    assert state is not None and not state.withdrawn


def test_nothing_is_called_back_of_a_dataset_that_was_never_announced(world: ConsentWorld) -> None:
    ids = permitted(world, 1)
    world.vault.shares.note(REQUEST, [world.vault.consents.owner(ids[0])])
    (found,) = datasets(world.desk, world.desk.replica.view, [world.vault.consents.owner(ids[0])])
    assert (found.requester, found.delivered) == ("", 0)
    file_one(world.desk, withdraw(ids[0]))
    world.block()
    assert raise_notices(world.desk) == [] and marks(world) == [False]


def test_a_notice_that_lapsed_is_said_again(world: ConsentWorld) -> None:
    ids = permitted(world, 1)
    request = world.delivered(ids)
    file_one(world.desk, withdraw(ids[0]))
    world.block()
    raise_notices(world.desk)
    ((tx, leaves),) = world.region.exchange.submissions()
    world.region.exchange.retire_submission(tx, leaves)
    world.region.grow(3, count=1)
    (again,) = raise_notices(world.desk)
    world.block()
    assert again.request == request and standing(world, request) is not None
    assert Notice.decode(tx).request == request


def test_who_withdraws_while_the_dataset_is_made_is_found_in_it_once_both_stand(world: ConsentWorld) -> None:
    ids = permitted(world, 1)
    file_one(world.desk, withdraw(ids[0]))
    assert marks(world) == []  # no dataset so far
    world.vault.shares.note(REQUEST, [world.vault.consents.owner(ids[0])])
    world.block()
    raise_notices(world.desk)
    assert marks(world) == [False]


def test_who_takes_back_more_is_told_of_again_and_what_lapses_is_as_before(world: ConsentWorld) -> None:
    ids = permitted(world, 1)
    request = world.delivered(ids)
    file_one(world.desk, deny(ids[0], Provision(False, types=(14,))))
    world.block()
    raise_notices(world.desk)
    world.block()
    raise_notices(world.desk)
    say(world, "hospital-east", request=request, step="recut", package=sm3(b"new"), manifest=sm3(b"new manifest"))
    assert marks(world) == [True]
    file_one(world.desk, withdraw(ids[0]))
    assert marks(world) == [False]
    ((tx, leaves),) = world.region.exchange.submissions()
    world.region.exchange.retire_submission(tx, leaves)
    world.region.grow(3, count=1)
    assert raise_notices(world.desk) == [] and marks(world) == [True]
    file_one(world.desk, withdraw(ids[0]))
    world.block()
    (told,) = raise_notices(world.desk)
    world.block()
    state = standing(world, request)
    assert told.persons == 5 and state is not None and state.stage == "raised"
