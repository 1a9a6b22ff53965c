"""Governance: quorum, cosignature, time-lock, deny-only, replay; who may be changed how (section 14, invariant 31)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from rule_ledger import AUDITOR, ENOUGH, KEYS, RuleLedger

from ledger.chain.state import (
    ACTIVE,
    FROZEN,
    GOV_BALLOT,
    INSTITUTION,
    ONLY,
    PARAMETERS,
    POLICIES,
    REVOKED,
    ROSTER,
    InstitutionState,
)
from ledger.chain.validators import ValidatorSet, institution_id
from ledger.contracts.change import Change
from ledger.contracts.governance import PROPOSAL_EPOCHS, Propose, Vote, count_votes
from ledger.contracts.member_changes import Admit, Freeze, NewWeight, Remove, RotateKey, Thaw
from ledger.contracts.motions import (
    AGAINST,
    ENACTED,
    FOR,
    LAPSED,
    MAX_OPEN_EACH,
    OPEN,
    PASSED,
    VOID,
    ballots_of,
    motion_of,
    open_motions,
)
from ledger.contracts.policy import PolicySet, default_policies, permits
from ledger.contracts.possession import NO_KEY, prove_possession
from ledger.contracts.rule_changes import BOUNDS, NewEngine, NewNumbers, NewRules
from ledger.errors import Halted, Refused
from shangmi import PrivateKey, sm3

SHIPPED = PolicySet.decode(default_policies())
EAST, WEST, LAB, HOME = map(institution_id, ("hospital-east", "hospital-west", "lab-centre", "nursing-home"))
INSURER, REGULATOR = institution_id("insurer"), institution_id(AUDITOR)
SPARE = KEYS["spare"]
FORBID = '\n@id("lab.none") @says("x") forbid (principal == Institution::"lab-centre", action, resource);'
PERMIT = '\n@id("home.reads") @says("x") permit (principal == Institution::"nursing-home", action, resource);'


def rules(more: str = "", base: PolicySet = SHIPPED, text: str = SHIPPED.text) -> NewRules:
    return NewRules(base.hash, text + more, base.schema)


def stage(ledger: RuleLedger, proposal: bytes) -> str:
    found = motion_of(ledger, proposal)
    assert found is not None
    return found.stage


def institution(ledger: RuleLedger, id_: bytes) -> InstitutionState:
    value = ledger.get(INSTITUTION, id_)
    assert value is not None
    return InstitutionState.decode(value)


@contextmanager
def refused(ledger: RuleLedger, message: str) -> Any:
    """Refused with this message and section 14, and the state is what it was."""
    before = dict(ledger.values)
    with pytest.raises(Refused, match=message) as caught:
        yield
    assert caught.value.section in ("14", "1")
    assert ledger.values == before


def in_force(ledger: RuleLedger) -> PolicySet:
    return PolicySet.decode(ledger.policies)


# ---- Quorum and cosignature ----


def test_more_than_two_thirds_of_the_votes_are_needed() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(rules(FORBID))
    ledger.vote(proposal, AUDITOR, "hospital-west", "hospital-district")  # 3 + 3 + 2 of 12: two thirds exactly
    assert stage(ledger, proposal) == OPEN
    ledger.end_epoch(2)
    assert in_force(ledger) == SHIPPED
    ledger.vote(proposal, "nursing-home")  # 9 of 12
    assert stage(ledger, proposal) == ENACTED


def test_all_votes_without_a_regulators_signature_change_nothing() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    ledger.vote(proposal, "hospital-west", "lab-centre", "hospital-district", "nursing-home")
    ledger.end_epoch(2)
    assert stage(ledger, proposal) == OPEN
    assert ledger.roster.registration(LAB).active
    ledger.vote(proposal, AUDITOR)
    assert stage(ledger, proposal) == ENACTED


def test_a_regulator_alone_changes_nothing() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB), who=AUDITOR)
    ledger.end_epoch()
    assert stage(ledger, proposal) == OPEN


def test_a_vote_against_is_none_for_it_and_may_be_changed() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    ledger.vote(proposal, *ENOUGH, choice=AGAINST)
    assert stage(ledger, proposal) == OPEN
    ledger.vote(proposal, *ENOUGH, choice=FOR)
    assert stage(ledger, proposal) == ENACTED


def test_participants_and_strangers_neither_propose_nor_vote() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    for who in ("insurer", "university", "spare"):
        with refused(ledger, "only who votes in this epoch, or audits"):
            ledger.propose(Freeze(WEST), who=who)
        with refused(ledger, "only who votes in this epoch, or audits"):
            ledger.vote(proposal, who)
    assert open_motions(ledger) == [proposal]
    assert ballots_of(ledger, proposal) == {EAST: FOR}


def test_the_same_vote_twice_counts_once_and_is_refused() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    with refused(ledger, "cast before"):
        ledger.vote(proposal, "hospital-east")  # the proposal carried it
    ledger.vote(proposal, "hospital-west")
    with refused(ledger, "cast before"):
        ledger.vote(proposal, "hospital-west")
    assert count_votes(ledger, Freeze(LAB), {EAST: FOR, WEST: FOR}).weight == 6


def test_votes_of_who_was_frozen_meanwhile_do_not_count() -> None:
    ledger = RuleLedger()
    admission = ledger.propose(NewNumbers((("round_seconds", 30),)))
    ledger.vote(admission, *ENOUGH)
    assert stage(ledger, admission) == PASSED
    ledger.vote(ledger.propose(Freeze(LAB)), "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    ledger.end_epoch(3)
    assert stage(ledger, admission) == OPEN  # 6 of what is left, 9, is no more than two thirds
    assert ledger.parameters.round_seconds == 20


@pytest.mark.parametrize("how", ["frozen", "convicted"])
def test_votes_cast_before_a_freeze_or_a_conviction_are_gone_in_the_same_epoch(how: str) -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(HOME))
    ledger.vote(proposal, "lab-centre", AUDITOR)
    if how == "frozen":
        freeze(ledger, "lab-centre")
    else:
        convict(ledger, LAB)
    ledger.vote(proposal, "hospital-west")  # 9 of 12 with the laboratory, which still sits in the set
    assert ledger.validators.member(LAB).weight == 3
    assert stage(ledger, proposal) == OPEN
    ledger.vote(proposal, "hospital-district", "nursing-home")
    assert stage(ledger, proposal) == ENACTED


# ---- The time-lock ----


def test_a_widening_change_waits_one_whole_epoch_and_not_a_block_less() -> None:
    ledger = RuleLedger()
    for _ in range(4):
        ledger.close_block()
    proposal = ledger.propose(rules(PERMIT))
    ledger.vote(proposal, *ENOUGH)
    assert stage(ledger, proposal) == PASSED
    passed_in = ledger.epoch
    while ledger.epoch <= passed_in + 1:
        assert in_force(ledger) == SHIPPED
        ledger.close_block()
    assert "home.reads" in in_force(ledger).text
    assert ledger.height == 21  # the first block after the whole of epoch 1
    assert permits(ledger, "access", HOME, [LAB], purpose="audit").allowed
    assert ledger.parameters.policy_hash == sm3(ledger.policies) == in_force(ledger).hash


def test_a_change_that_passes_in_an_epochs_last_block_waits_the_whole_next_one_too() -> None:
    ledger = RuleLedger()
    while not ledger.last_of_epoch:
        ledger.close_block()
    proposal = ledger.propose(rules(PERMIT))
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch(1)
    assert (stage(ledger, proposal), in_force(ledger)) == (PASSED, SHIPPED)
    ledger.end_epoch(1)
    assert stage(ledger, proposal) == ENACTED


def test_a_longer_lock_waits_longer() -> None:
    ledger = RuleLedger(lock_epochs=3)
    proposal = ledger.propose(rules(PERMIT))
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch(3)
    assert stage(ledger, proposal) == PASSED
    ledger.end_epoch(1)
    assert stage(ledger, proposal) == ENACTED


def test_votes_taken_back_during_the_lock_stop_the_change_and_new_ones_wait_anew() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(rules(PERMIT))
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch()
    ledger.vote(proposal, "hospital-west", choice=AGAINST)
    assert stage(ledger, proposal) == OPEN
    ledger.end_epoch()
    assert in_force(ledger) == SHIPPED
    ledger.vote(proposal, "hospital-west")
    ledger.end_epoch()
    assert in_force(ledger) == SHIPPED
    ledger.end_epoch()
    assert "home.reads" in in_force(ledger).text


def test_votes_are_weighed_by_the_set_at_enactment() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(NewNumbers((("round_seconds", 30),)))
    ledger.vote(proposal, *ENOUGH)
    light = ValidatorSet(replace(one, weight=1) if one.role == "producer" else one for one in ledger.validators.members)
    ledger.end_epoch()
    ledger.values[9, (1).to_bytes(4, "big")] = light.encode()  # 3 of 6 votes now
    ledger.end_epoch()
    assert stage(ledger, proposal) == OPEN
    assert ledger.parameters.round_seconds == 20


def test_a_proposal_without_enough_votes_lapses() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    ledger.end_epoch(PROPOSAL_EPOCHS)
    assert stage(ledger, proposal) == OPEN
    ledger.end_epoch()
    assert stage(ledger, proposal) == LAPSED
    assert open_motions(ledger) == []
    assert ledger.get(GOV_BALLOT, proposal) is None
    with refused(ledger, "no open proposal has that id"):
        ledger.vote(proposal, *ENOUGH)


# ---- What can only deny takes effect in the next block ----


def test_further_forbid_rules_are_in_force_in_the_next_block_and_not_in_their_own() -> None:
    ledger = RuleLedger()
    assert permits(ledger, "upload", LAB, [LAB]).allowed
    proposal = ledger.propose(rules(FORBID))
    outcome = ledger.vote(proposal, *ENOUGH)
    assert outcome.detail[0] == 2  # the receipt of the vote that sufficed says: enacted
    assert permits(ledger, "upload", LAB, [LAB]).allowed  # rules of a block are those before it
    ledger.close_block()
    assert permits(ledger, "upload", LAB, [LAB]).policies == ("lab.none",)
    assert ledger.parameters.policy_hash == in_force(ledger).hash


@pytest.mark.parametrize("change", [Freeze(LAB), Remove(LAB)], ids=["freeze", "removal"])
def test_freezing_and_removing_act_at_once_and_leave_the_voters_to_the_epochs_end(change: Change) -> None:
    ledger = RuleLedger()
    ledger.vote(ledger.propose(change), "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    found = ledger.roster.registration(LAB)
    assert found.standing == ("frozen" if isinstance(change, Freeze) else "revoked")
    assert institution(ledger, LAB).standing == (FROZEN if isinstance(change, Freeze) else REVOKED)
    assert ledger.validators.member(LAB).weight == 3  # no quorum moves while votes are in flight
    ledger.end_epoch()
    assert ledger.validators.member(LAB).weight == 0
    assert permits(ledger, "upload", LAB, [LAB]).policies == ("never.frozen",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Thaw(LAB),
        lambda: NewNumbers((("round_seconds", 30),)),
        lambda: NewEngine("cedar-4.13"),
        lambda: NewWeight(WEST, 2),
        lambda: rules(PERMIT),
        lambda: rules(text=SHIPPED.text.replace("principal.credit < 200", "principal.credit < 201")),
        lambda: RotateKey(WEST, SPARE.public.bytes, proof("hospital-west")),
        lambda: admission(),
    ],
    ids=["thaw", "numbers", "engine", "weight", "a permit", "a stricter forbid", "key", "admission"],
)
def test_everything_else_waits(make: Callable[[], Change]) -> None:
    ledger = RuleLedger()
    freeze(ledger, "lab-centre")
    ledger.end_epoch()
    before = {kind: ledger.standing(kind) for kind in (PARAMETERS, POLICIES, ROSTER)}
    proposal = ledger.propose(make())
    ledger.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    assert stage(ledger, proposal) == PASSED
    assert {kind: ledger.standing(kind) for kind in before} == before
    ledger.end_epoch(2)
    assert stage(ledger, proposal) == ENACTED
    assert {kind: ledger.standing(kind) for kind in before} != before


def freeze(ledger: RuleLedger, who: str) -> None:
    change = Freeze(institution_id(who))
    voters = [one for one in ("hospital-west", "lab-centre", "hospital-district", "nursing-home") if one != who]
    proposal = ledger.propose(change)
    ledger.vote(proposal, *voters[:3], AUDITOR)
    assert stage(ledger, proposal) == ENACTED


# ---- Rules ----


def test_faulty_rules_cannot_be_proposed() -> None:
    ledger = RuleLedger()
    unguarded = FORBID.replace("resource);", 'resource) when { resource.type == "X" };')
    silent = '@id("x") permit (principal, action, resource);'
    for text in ("permit (", PERMIT.replace("principal ==", "princpal =="), silent, unguarded, "(" * 30_000):
        with refused(ledger, "have faults; `xinglin policy check`"):
            ledger.propose(rules(text))
    with refused(ledger, "schema is none that this program"):
        ledger.propose(NewRules(SHIPPED.hash, SHIPPED.text + FORBID, SHIPPED.schema + " "))
    with refused(ledger, "are those in force"):
        ledger.propose(rules())
    with refused(ledger, "changed since these were written"):
        ledger.propose(NewRules(bytes(32), SHIPPED.text + FORBID, SHIPPED.schema))
    assert open_motions(ledger) == []


def test_rules_written_against_others_than_those_in_force_are_void_when_their_time_comes() -> None:
    ledger = RuleLedger()
    wide, narrow = ledger.propose(rules(PERMIT)), ledger.propose(rules(FORBID))
    ledger.vote(wide, *ENOUGH)
    ledger.vote(narrow, *ENOUGH)
    assert stage(ledger, narrow) == ENACTED
    ledger.end_epoch(2)
    assert stage(ledger, wide) == VOID  # it would have dropped the forbid of the other
    assert "lab.none" in in_force(ledger).text
    assert "home.reads" not in in_force(ledger).text


def test_two_denials_against_the_same_rules_do_not_undo_each_other() -> None:
    ledger = RuleLedger()
    first, second = ledger.propose(rules(FORBID)), ledger.propose(rules(FORBID.replace("lab", "hom")))
    ledger.vote(first, *ENOUGH)
    ledger.vote(second, *ENOUGH)
    ledger.close_block()
    assert (stage(ledger, first), stage(ledger, second)) == (ENACTED, VOID)
    assert "lab.none" in in_force(ledger).text


def test_a_chain_without_rules_gets_its_first_after_the_lock() -> None:
    ledger = RuleLedger(policies=b"")
    proposal = ledger.propose(NewRules(sm3(b""), SHIPPED.text, SHIPPED.schema))
    ledger.vote(proposal, *ENOUGH)
    assert stage(ledger, proposal) == PASSED
    ledger.end_epoch(2)
    assert ledger.policies == default_policies()
    with refused(RuleLedger(policies=b""), "no rules that an engine"):
        RuleLedger(policies=b"").propose(NewEngine("cedar-4.13"))


def test_another_engine_halts_every_node_after_the_boundary_and_none_before() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(NewEngine("cedar-4.13"))
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch(1)
    assert permits(ledger, "upload", EAST, [EAST]).allowed
    ledger.end_epoch(1)
    with pytest.raises(Halted, match="start the node again"):
        permits(ledger, "upload", EAST, [EAST])
    with pytest.raises(Halted, match="start the node again"):
        ledger.propose(NewRules(sm3(ledger.policies), SHIPPED.text + FORBID, SHIPPED.schema))
    with refused(ledger, "is the engine in force"):
        ledger.propose(NewEngine("cedar-4.13"))


# ---- Numbers ----


def test_numbers_change_within_their_bounds_and_an_epochs_length_never() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(NewNumbers((("clock_drift_ms", 60_000), ("deliver_blocks", 50))))
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch(2)
    assert (ledger.parameters.clock_drift_ms, ledger.parameters.deliver_blocks) == (60_000, 50)
    assert ledger.parameters.policy_hash == SHIPPED.hash
    with refused(ledger, "epoch_blocks is the same for ever"):
        ledger.propose(NewNumbers((("epoch_blocks", 20),)))
    with refused(ledger, "are those in force"):
        ledger.propose(NewNumbers((("deliver_blocks", 50),)))
    for name, (least, greatest) in BOUNDS.items():
        for wrong in (least - 1, greatest + 1):
            with refused(ledger, f"{name} may be {least} to {greatest}, not {wrong}"):
                ledger.propose(NewNumbers(((name, wrong),)))


# ---- Members and keys ----


def proof(name: str, key: PrivateKey = SPARE, replaced: str | None = None, chain: bytes | None = None) -> bytes:
    """The spare key's proof for an institution, as a change from the key of ``replaced``."""
    ledger = RuleLedger(policies=b"")
    standing = ledger.roster.registration(institution_id(replaced or name))
    return prove_possession(
        key, chain or ledger.chain_id, institution_id(name), NO_KEY if standing is None else standing.key_id
    )


def admission(name: str = "clinic", key: PrivateKey = SPARE, signed: bytes | None = None, class_: str = "B") -> Admit:
    party = "insurer" if class_ == "P" else "hospital"
    return Admit(name, "社区诊所", class_, party, key.public.bytes, signed or proof(name, key))


def convict(ledger: RuleLedger, id_: bytes) -> None:
    """What evidence of double signing does to the institution's entry (section 10)."""
    ledger.put(INSTITUTION, id_, replace(institution(ledger, id_), standing=REVOKED).encode())


def enacted(ledger: RuleLedger, change: Change) -> None:
    proposal = ledger.propose(change)
    ledger.vote(proposal, *ENOUGH)
    ledger.end_epoch(2)
    assert stage(ledger, proposal) == ENACTED


def test_an_institution_is_admitted_with_a_key_that_it_holds() -> None:
    ledger = RuleLedger()
    enacted(ledger, admission())
    found = ledger.roster.registration(institution_id("clinic"))
    assert (found.class_, found.party, found.weight, found.standing) == ("B", "hospital", 2, "active")
    assert institution(ledger, found.id) == InstitutionState(0, found.key_id, ACTIVE)
    assert permits(ledger, "upload", found.id, [found.id]).allowed


def test_an_insurer_is_admitted_without_votes_and_may_then_settle_claims() -> None:
    ledger = RuleLedger()
    enacted(ledger, admission("payer", class_="P"))
    payer = institution_id("payer")
    assert ledger.roster.registration(payer).weight == 0
    assert permits(ledger, "access", payer, [EAST], purpose="claims", consent="permit").allowed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (admission("hospital-east"), "registered already"),
        (admission(key=KEYS["hospital-west"]), "key is registered already"),
        (admission(signed=bytes(64)), "did not sign the proof"),
        (admission(signed=proof("elsewhere")), "did not sign the proof"),
        (admission(signed=proof("clinic", KEYS["lab-centre"])), "did not sign the proof"),
        (admission(signed=proof("clinic", chain=bytes(32))), "did not sign the proof"),
        (replace(admission(), public_key=bytes(64)), "no point of the SM2 curve"),
        (RotateKey(WEST, SPARE.public.bytes, bytes(64)), "did not sign the proof"),
        (RotateKey(WEST, SPARE.public.bytes, proof("hospital-east")), "did not sign the proof"),
        (RotateKey(WEST, SPARE.public.bytes, proof("hospital-west", KEYS["hospital-west"])), "did not sign the proof"),
        (RotateKey(WEST, SPARE.public.bytes, proof("hospital-west", replaced="lab-centre")), "did not sign the proof"),
        (RotateKey(WEST, KEYS["hospital-west"].public.bytes, bytes(64)), "registered already"),
        (RotateKey(WEST, KEYS["insurer"].public.bytes, bytes(64)), "registered already"),
        (RotateKey(institution_id("nobody"), SPARE.public.bytes, bytes(64)), "nobody of that id"),
        (NewWeight(WEST, 4), "class A has 3 votes at most"),
        (NewWeight(WEST, 0), "class A has 3 votes at most"),
        (NewWeight(WEST, 3), "has 3 votes already"),
        (NewWeight(HOME, 2), "class C has 1 votes at most"),
        (NewWeight(INSURER, 1), "has no votes"),
        (NewWeight(REGULATOR, 1), "has no votes"),
        (Thaw(WEST), "is not frozen"),
        (Remove(institution_id("nobody")), "nobody of that id"),
        (Freeze(REGULATOR), "only regulator left"),
        (Remove(REGULATOR), "only regulator left"),
    ],
)
def test_a_change_of_members_that_breaks_a_rule_is_refused(change: Change, message: str) -> None:
    ledger = RuleLedger()
    with refused(ledger, message):
        ledger.propose(change)
    assert open_motions(ledger) == []


def test_a_rotated_key_is_in_force_after_the_lock_and_the_old_proof_serves_no_second_time() -> None:
    ledger = RuleLedger()
    change = RotateKey(WEST, SPARE.public.bytes, proof("hospital-west"))
    enacted(ledger, change)
    found = ledger.roster.registration(WEST)
    assert found.public_key == SPARE.public.bytes
    assert institution(ledger, WEST) == InstitutionState(0, found.key_id, ACTIVE)
    assert ledger.validators.member(WEST).public_key == SPARE.public.bytes
    back = KEYS["hospital-west"]
    enacted(ledger, RotateKey(WEST, back.public.bytes, prove_possession(back, ledger.chain_id, WEST, found.key_id)))
    third = PrivateKey.from_scalar(bytes(31) + b"\x63")
    late = prove_possession(third, ledger.chain_id, WEST, found.key_id)
    with refused(ledger, "did not sign the proof"):
        ledger.propose(RotateKey(WEST, third.public.bytes, late))


def test_rotation_renews_a_key_that_was_convicted_and_keeps_who_is_frozen_frozen() -> None:
    ledger = RuleLedger()
    convict(ledger, WEST)
    assert institution(ledger, WEST).standing == REVOKED
    change = RotateKey(WEST, SPARE.public.bytes, proof("hospital-west"))
    proposal = ledger.propose(change)
    ledger.vote(proposal, "lab-centre", "hospital-district", "nursing-home", AUDITOR)
    ledger.end_epoch(2)
    assert institution(ledger, WEST).standing == ACTIVE
    ledger = RuleLedger()
    proposal = ledger.propose(change)
    ledger.vote(proposal, *ENOUGH)
    freeze(ledger, "hospital-west")
    ledger.vote(proposal, "hospital-district", "nursing-home")
    ledger.end_epoch(2)
    assert ledger.roster.registration(WEST).public_key == SPARE.public.bytes
    assert (ledger.roster.registration(WEST).standing, institution(ledger, WEST).standing) == ("frozen", FROZEN)


def test_freezing_and_thawing_do_not_wash_a_conviction() -> None:
    ledger = RuleLedger()
    convict(ledger, LAB)
    freeze(ledger, "lab-centre")
    assert institution(ledger, LAB).standing == REVOKED
    proposal = ledger.propose(Thaw(LAB))
    ledger.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    ledger.end_epoch(2)
    assert ledger.roster.registration(LAB).active
    assert institution(ledger, LAB).standing == REVOKED


def test_a_removed_institutions_key_is_nobodys_again_and_it_comes_back_with_another() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Remove(LAB))
    ledger.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    old = KEYS["lab-centre"]
    with refused(ledger, "an institution's that was removed"):
        ledger.propose(admission(key=old))
    with refused(ledger, "an institution's that was removed"):
        ledger.propose(admission("lab-centre", old))
    with refused(ledger, "was removed; admit it again"):
        ledger.propose(RotateKey(LAB, SPARE.public.bytes, proof("lab-centre")))
    for change in (Thaw(LAB), Freeze(LAB), Remove(LAB), NewWeight(LAB, 1)):
        with refused(ledger, "was removed"):
            ledger.propose(change)
    back = Admit("lab-centre", "区域检验中心", "A", "hospital", SPARE.public.bytes, proof("lab-centre"))
    proposal = ledger.propose(back)
    ledger.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    ledger.end_epoch(2)
    assert ledger.roster.registration(LAB).public_key == SPARE.public.bytes
    assert institution(ledger, LAB).standing == ACTIVE


def test_all_votes_together_renew_the_only_regulators_lost_key() -> None:
    ledger = RuleLedger()
    change = RotateKey(REGULATOR, SPARE.public.bytes, proof(AUDITOR))
    proposal = ledger.propose(change)
    ledger.vote(proposal, "hospital-west", "lab-centre", "hospital-district")
    assert stage(ledger, proposal) == OPEN
    ledger.vote(proposal, "nursing-home")
    assert stage(ledger, proposal) == PASSED
    ledger.end_epoch(2)
    assert ledger.roster.registration(REGULATOR).public_key == SPARE.public.bytes


def test_a_weight_goes_down_and_up_again_within_its_class() -> None:
    ledger = RuleLedger()
    enacted(ledger, NewWeight(WEST, 1))
    assert ledger.validators.member(WEST).weight == 1
    proposal = ledger.propose(NewWeight(WEST, 3))
    ledger.vote(proposal, *ENOUGH, "hospital-district")
    ledger.end_epoch(2)
    assert ledger.validators.member(WEST).weight == 3


def test_a_change_that_cannot_be_made_any_more_is_void_and_leaves_no_trace() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(RotateKey(LAB, SPARE.public.bytes, proof("lab-centre")))
    ledger.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    removal = ledger.propose(Remove(LAB))
    ledger.vote(removal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    roster = ledger.standing(ROSTER)
    ledger.end_epoch(2)
    assert stage(ledger, proposal) == VOID
    assert ledger.standing(ROSTER) == roster
    assert open_motions(ledger) == []


# ---- Bounds, repetition, order ----


def test_an_institution_cannot_crowd_out_others_proposals() -> None:
    ledger = RuleLedger()
    own = [ledger.propose(NewNumbers((("round_seconds", 30 + number),))) for number in range(MAX_OPEN_EACH)]
    with refused(ledger, "at most 64 proposals are open, and 4 of one institution"):
        ledger.propose(NewNumbers((("round_seconds", 60),)))
    other = ledger.propose(NewNumbers((("round_seconds", 60),)), who="hospital-west")
    assert open_motions(ledger) == [*own, other]


def test_the_same_change_is_proposed_once() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    with refused(ledger, "is proposed already; vote for it"):
        ledger.propose(Freeze(LAB), who="hospital-west", title="another title")
    assert open_motions(ledger) == [proposal]


def test_a_vote_for_what_nobody_proposed_is_refused() -> None:
    ledger = RuleLedger()
    with refused(ledger, "no open proposal has that id"):
        ledger.vote(bytes(32), "hospital-east")
    assert ledger.get(GOV_BALLOT, bytes(32)) is None


def test_a_vote_after_the_change_was_made_is_refused_and_makes_it_no_second_time() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    ledger.vote(proposal, *ENOUGH)
    with refused(ledger, "no open proposal has that id"):
        ledger.vote(proposal, "nursing-home")
    found = motion_of(ledger, proposal)
    ledger.end_epoch(2)
    assert motion_of(ledger, proposal) == found


def test_the_order_of_votes_changes_nothing() -> None:
    ends = set()
    for order in (ENOUGH, ENOUGH[::-1], (ENOUGH[1], ENOUGH[2], ENOUGH[0])):
        ledger = RuleLedger()
        proposal = ledger.propose(rules(FORBID))
        ledger.vote(proposal, *order)
        ends.add(tuple(sorted((kind, id_, value) for (kind, id_), value in ledger.values.items())))
    assert len(ends) == 1


def test_what_is_signed_is_bound_to_chain_sender_and_nonce() -> None:
    ledger = RuleLedger()
    one = Vote(**ledger.heading("hospital-east"), proposal=bytes(32), choice=FOR)
    changed: list[dict[str, Any]] = [
        {"chain_id": bytes(32)}, {"sender": WEST}, {"nonce": bytes(16)}, {"choice": AGAINST}, {"expiry_height": 7},
        {"proposal": b"x" * 32},
    ]  # fmt: skip
    others = [replace(one, **each) for each in changed]
    assert len({each.tx_id for each in (one, *others)}) == 7
    assert Propose.TYPE != Vote.TYPE


def test_what_is_enacted_leaves_no_ballots_behind() -> None:
    ledger = RuleLedger()
    proposal = ledger.propose(Freeze(LAB))
    ledger.vote(proposal, *ENOUGH)
    assert ledger.get(GOV_BALLOT, proposal) is None
    assert open_motions(ledger) == []
    assert ledger.get(POLICIES, ONLY) == default_policies()
