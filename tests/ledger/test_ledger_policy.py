"""Contracts: what the shipped rules answer, and that whatever is not plainly allowed is denied (section 14, 31)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_ledger import AUDITOR, RuleLedger

from ledger.chain.roster import CLASSES, PARTIES, STANDINGS
from ledger.chain.state import CREDIT, ONLY, ROSTER
from ledger.chain.validators import institution_id
from ledger.contracts.policy import (
    ERROR,
    FORBIDDEN,
    NO_RULES,
    NOT_PERMITTED,
    PERMITTED,
    Decision,
    PolicySet,
    default_policies,
    permits,
)
from ledger.contracts.policy_check import check_policies
from ledger.contracts.policy_engine import ENGINE, installed_engine
from ledger.contracts.policy_request import CONSENTS, PURPOSES, READERS, PartyFacts, Question
from ledger.credit.credit import credit_of
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Halted, Malformed, Refused
from ledger.messages.provisions import PURPOSES as CONSENT_PURPOSES
from shangmi import sm3

SHIPPED = PolicySet.decode(default_policies())
EAST = PartyFacts("hospital-east", "A", "hospital")
WEST = PartyFacts("hospital-west", "A", "hospital")
HOME = PartyFacts("nursing-home", "C", "nursing-home")
INSURER = PartyFacts("insurer", "P", "insurer")
UNIVERSITY = PartyFacts("university", "P", "research")
NEWCOMER = PartyFacts("newcomer", "P", "participant")
REGULATOR = PartyFacts("health-commission", "R", "regulator")
NOW = 1_793_462_400_000
APPROVED: dict[str, Any] = {"dataset": True, "ethics": True, "approved": True}
DATASET = APPROVED | {"purpose": "research"}


def ask(principal: PartyFacts, action: str, *owners: PartyFacts, rules: PolicySet = SHIPPED, **facts: Any) -> Decision:
    return rules.decide(Question(action=action, principal=principal, owners=owners or (WEST,), now_ms=NOW, **facts))


def with_rule(rule: str) -> PolicySet:
    return replace(SHIPPED, text=SHIPPED.text + "\n" + rule)


# ---- What the shipped rules say: who, what, for which purpose, under what condition ----


@pytest.mark.parametrize(
    ("who", "purpose", "facts", "rules"),
    [
        (EAST, "care", {"consent": "permit"}, ("care.consented",)),
        (EAST, "care", {"consent": "permit", "reader": "doctor"}, ("care.consented",)),
        (HOME, "care", {"consent": "permit"}, ("care.consented",)),
        (EAST, "emergency", {}, ("care.emergency",)),
        (HOME, "directory", {"reader": "patient", "consent": "permit"}, ("patient.own",)),
        (INSURER, "claims", {"consent": "permit"}, ("claims.consented",)),
        (INSURER, "claims", {"dataset": True, "approved": True}, ("claims.dataset",)),
        (UNIVERSITY, "research", APPROVED, ("research.dataset",)),
        (EAST, "research", APPROVED | {"recent": 19}, ("research.dataset",)),
        (EAST, "emergency", {"recent": 5_000}, ("care.emergency",)),
        (REGULATOR, "public-health", {"dataset": True}, ("supervision.dataset",)),
        (REGULATOR, "audit", {"dataset": True}, ("supervision.dataset",)),
        (REGULATOR, "audit", {"approved": True}, ("supervision.record",)),
    ],
)
def test_the_shipped_rules_permit(who: PartyFacts, purpose: str, facts: dict[str, Any], rules: tuple[str, ...]) -> None:
    expected = Decision(True, PERMITTED, rules, SHIPPED.hash)
    assert ask(who, "access", purpose=purpose, **facts) == expected
    assert ask(who, "download", purpose=purpose, **facts) == expected


@pytest.mark.parametrize(
    ("who", "purpose", "facts"),
    [
        (EAST, "care", {}),
        (EAST, "care", {"consent": "permit", "dataset": True}),
        (replace(EAST, credit=299), "care", {"consent": "permit"}),
        (INSURER, "care", {"consent": "permit"}),
        (INSURER, "care", {"consent": "permit", "reader": "doctor"}),
        (INSURER, "claims", {}),
        (replace(INSURER, credit=399), "claims", {"consent": "permit"}),
        (INSURER, "claims", {"dataset": True}),
        (INSURER, "research", APPROVED),
        (EAST, "claims", {"consent": "permit"}),
        (UNIVERSITY, "research", {"dataset": True}),
        (UNIVERSITY, "research", {"dataset": True, "approved": True}),
        (UNIVERSITY, "research", {"dataset": True, "ethics": True}),
        (UNIVERSITY, "research", {"approved": True, "consent": "permit"}),
        (replace(UNIVERSITY, credit=499), "research", APPROVED),
        (UNIVERSITY, "claims", {"dataset": True, "approved": True}),
        (UNIVERSITY, "care", {"consent": "permit", "reader": "patient"}),
        (NEWCOMER, "research", APPROVED),
        (NEWCOMER, "claims", {"consent": "permit"}),
        (REGULATOR, "care", {"consent": "permit"}),
        (REGULATOR, "audit", {}),
        (EAST, "audit", {"dataset": True, "approved": True}),
        (EAST, "directory", {"consent": "permit"}),
    ],
)
def test_the_shipped_rules_permit_nothing_of_the_sort(who: PartyFacts, purpose: str, facts: dict[str, Any]) -> None:
    assert ask(who, "access", purpose=purpose, **facts) == Decision(False, NOT_PERMITTED, (), SHIPPED.hash)


@pytest.mark.parametrize(
    ("who", "facts", "rules"),
    [
        (EAST, {"erased": True}, ("never.erased",)),
        (EAST, {"consent": "deny", "purpose": "emergency"}, ("never.denied",)),
        (replace(EAST, standing="frozen"), {}, ("never.frozen",)),
        (replace(EAST, standing="revoked"), {}, ("never.frozen",)),
        (replace(EAST, credit=199), {"purpose": "emergency"}, ("never.discredited",)),
        (UNIVERSITY, {**DATASET, "consent": "none", "records": 1_000_001}, ("never.whole-region",)),
        (UNIVERSITY, DATASET | {"consent": "none", "recent": 20}, ("rate.datasets",)),
        (EAST, {"recent": 5_000}, ("rate.records",)),
        (EAST, {"erased": True, "consent": "deny"}, ("never.denied", "never.erased")),
    ],
)
def test_the_shipped_rules_forbid_against_everything_that_permits(
    who: PartyFacts, facts: dict[str, Any], rules: tuple[str, ...]
) -> None:
    asked = {"purpose": "care", "consent": "permit"} | facts
    assert ask(who, "access", **asked) == Decision(False, FORBIDDEN, rules, SHIPPED.hash)


def test_a_permission_lapses_when_nobody_delivers() -> None:
    asked = {"purpose": "care", "consent": "permit"}
    assert ask(EAST, "download", **asked, waited=1_000).allowed
    assert ask(EAST, "download", **asked, waited=1_001).policies == ("download.lapsed",)


def test_records_are_published_by_their_own_hospital_or_nursing_home() -> None:
    for who in (EAST, HOME, replace(EAST, credit=0)):
        assert ask(who, "upload", who, records=100_000) == Decision(True, PERMITTED, ("upload.own",), SHIPPED.hash)
    assert not ask(EAST, "upload", WEST).allowed
    for who in (INSURER, UNIVERSITY, REGULATOR, NEWCOMER):
        assert not ask(who, "upload", who).allowed
    assert ask(replace(EAST, standing="frozen"), "upload", replace(EAST, standing="frozen")).reason == FORBIDDEN


def test_a_dataset_of_several_holders_needs_every_one_of_them() -> None:
    rules = with_rule(
        '@id("west.none") @says("Nobody receives datasets of hospital-west.") '
        'forbid (principal, action == Action::"access", resource) '
        'when { resource.owner == Institution::"hospital-west" };'
    )
    assert ask(UNIVERSITY, "access", EAST, HOME, rules=rules, **DATASET).allowed
    both = ask(UNIVERSITY, "access", EAST, WEST, HOME, rules=rules, **DATASET)
    assert (both.allowed, both.policies) == (False, ("west.none",))


def test_nobody_asked_is_a_denial() -> None:
    question = Question(action="access", principal=EAST, owners=(), now_ms=NOW, purpose="care", consent="permit")
    assert SHIPPED.decide(question) == Decision(False, ERROR, (), SHIPPED.hash)


# ---- Invariant 31: an error is a denial, whatever the engine makes of it ----

OVERFLOW = "principal.credit * 9223372036854775807 > 1"


def test_a_forbid_that_fails_to_evaluate_denies_although_the_engine_allows() -> None:
    rules = with_rule(f'@id("broken") @says("It fails.") forbid (principal, action, resource) when {{ {OVERFLOW} }};')
    assert check_policies(rules.text, rules.schema) == []  # no validator sees it coming
    question = Question(action="upload", principal=EAST, owners=(EAST,), now_ms=NOW)
    alone = cedarpy.is_authorized(question.requests()[0], rules.text, question.entities(), rules.schema)
    assert alone.decision is cedarpy.Decision.Allow
    assert rules.decide(question) == Decision(False, ERROR, (), rules.hash)


def test_a_permit_that_fails_to_evaluate_denies_although_another_permits() -> None:
    rules = with_rule(f'@id("broken") @says("It fails.") permit (principal, action, resource) when {{ {OVERFLOW} }};')
    assert ask(EAST, "upload", EAST, rules=rules) == Decision(False, ERROR, (), rules.hash)


def test_one_failing_answer_of_several_denies_all() -> None:
    rules = with_rule(
        '@id("broken") @says("It fails.") forbid (principal, action, resource) '
        'when { resource.owner == Institution::"hospital-west" && ' + OVERFLOW + " };"
    )
    assert ask(UNIVERSITY, "access", EAST, rules=rules, **DATASET).allowed
    assert ask(UNIVERSITY, "access", EAST, WEST, rules=rules, **DATASET).reason == ERROR


@pytest.mark.parametrize(
    ("who", "action", "facts"),
    [
        (EAST, "access", {"purpose": "caer", "consent": "permit"}),
        (EAST, "access", {"purpose": "", "consent": "permit"}),
        (EAST, "access", {"purpose": "care", "consent": "perhaps"}),
        (EAST, "access", {"purpose": "care", "consent": "permit", "reader": "king"}),
        (replace(EAST, party="pharmacy"), "access", {"purpose": "care", "consent": "permit"}),
        (replace(EAST, class_="Z"), "access", {"purpose": "care", "consent": "permit"}),
        (replace(EAST, standing="asleep"), "access", {"purpose": "care", "consent": "permit"}),
        (EAST, "acces", {"purpose": "care", "consent": "permit"}),
        (replace(EAST, credit=1 << 63), "access", {"purpose": "care", "consent": "permit"}),
        (EAST, "access", {"purpose": "care", "consent": "permit", "records": 1 << 63}),
    ],
)
def test_facts_that_do_not_fit_the_schema_are_no_decision_and_a_denial(
    who: PartyFacts, action: str, facts: dict[str, Any]
) -> None:
    question = Question(action=action, principal=who, owners=(WEST,), now_ms=NOW, **facts)
    alone = cedarpy.is_authorized(question.requests()[0], SHIPPED.text, question.entities(), SHIPPED.schema)
    assert alone.decision is cedarpy.Decision.NoDecision
    assert SHIPPED.decide(question) == Decision(False, ERROR, (), SHIPPED.hash)


def test_the_schema_is_always_passed() -> None:
    """Without it the engine would allow this: a forbid on an attribute of a wrong type is never true."""
    question = Question(
        action="access", principal=replace(EAST, standing="asleep"), owners=(WEST,), now_ms=NOW, purpose="care",
        consent="permit",
    )  # fmt: skip
    rules = replace(SHIPPED, text=SHIPPED.text.replace('!= Standing::"active"', '== Standing::"frozen"'))
    without = cedarpy.is_authorized(question.requests()[0], rules.text, question.entities())
    assert without.decision is cedarpy.Decision.Allow
    assert rules.decide(question).allowed is False


def test_a_rule_that_reads_what_is_missing_denies() -> None:
    """Past every check by hand: an attribute that is not there is an error, and an error a denial."""
    rules = with_rule(
        '@id("typed") @says("x") forbid (principal, action == Action::"access", resource) '
        'when { resource.type == "X" };'
    )
    assert ask(EAST, "access", rules=rules, purpose="care", consent="permit").reason == ERROR
    assert ask(EAST, "access", rules=rules, purpose="care", consent="permit", type="Observation").allowed


# ---- The engine is part of what a region agrees on ----


def test_rules_of_another_engine_halt_the_node_and_say_what_to_install() -> None:
    for engine in ("cedar-4.11", "cedar-4.13", "cedar-5.12"):
        with pytest.raises(Halted, match=f"judged by {engine}, installed is {ENGINE}.*cedarpy.*governance.md"):
            ask(EAST, "upload", EAST, rules=replace(SHIPPED, engine=engine))


def test_the_tested_engine_is_the_installed_one() -> None:
    assert installed_engine() == ENGINE == SHIPPED.engine


# ---- The words of the schema are those of the program ----


def test_the_schema_names_every_class_party_standing_purpose_and_consent_the_chain_has() -> None:
    def named(entity: str) -> tuple[str, ...]:
        found = SHIPPED.schema.split(f"entity {entity} enum ")[1].split(";")[0]
        return tuple(json.loads(found))

    assert named("Class") == CLASSES
    assert named("Standing") == STANDINGS
    assert named("Purpose") == PURPOSES == CONSENT_PURPOSES
    assert named("Consent") == CONSENTS
    assert named("Party") == READERS
    assert set(PARTIES) < set(READERS)


# ---- Bytes ----

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts, texts, st.text("cedar-0123456789.", max_size=12))
def test_every_policy_set_reads_back_from_its_one_encoding(text: str, schema: str, engine: str) -> None:
    one = PolicySet(text, schema, engine)
    assert PolicySet.decode(one.encode()) == one
    assert one.hash == sm3(one.encode())


def test_every_prefix_extension_and_change_of_a_policy_set_is_another_or_malformed() -> None:
    encoded = replace(SHIPPED, text=SHIPPED.text[:200], schema="x").encode()
    for wrong in [*(encoded[:length] for length in range(len(encoded))), encoded + b"\0"]:
        with pytest.raises(Malformed):
            PolicySet.decode(wrong)
    for place in range(0, len(encoded), 7):
        changed = encoded[:place] + bytes([encoded[place] ^ 1]) + encoded[place + 1 :]
        try:
            assert PolicySet.decode(changed).hash != sm3(encoded)
        except Malformed:
            continue


def test_the_digest_binds_rules_schema_and_engine() -> None:
    others = [replace(SHIPPED, text="x"), replace(SHIPPED, schema="x"), replace(SHIPPED, engine="cedar-4.13")]
    assert len({one.hash for one in (SHIPPED, *others)}) == 4


# ---- On the chain ----


def test_the_chain_is_asked_with_its_own_standing_credit_and_time() -> None:
    ledger = RuleLedger()
    east, west = institution_id("hospital-east"), institution_id("hospital-west")
    assert permits(ledger, "upload", east, [east]).policies == ("upload.own",)
    assert permits(ledger, "access", east, [west], purpose="care", consent="permit").allowed
    ledger.put(CREDIT, east, replace(credit_of(ledger, east), score=150).encode())
    low = permits(ledger, "access", east, [west], purpose="care", consent="permit")
    assert (low.reason, low.policies) == (FORBIDDEN, ("never.discredited",))
    ledger.put(ROSTER, ONLY, ledger.roster.with_(replace(ledger.roster.registration(east), standing="frozen")).encode())
    assert permits(ledger, "upload", east, [east]).policies == ("never.frozen",)
    later = with_rule(
        '@id("later") @says("x") forbid (principal, action, resource) '
        'when { context.now > datetime("2026-10-31T00:00:00Z") };'
    )
    ledger.policies = later.encode()
    assert "later" in permits(ledger, "upload", west, [west]).policies
    ledger.time_ms = 1_700_000_000_000
    assert permits(ledger, "upload", west, [west]).allowed


def test_a_time_beyond_the_calendar_is_its_end_and_no_crash() -> None:
    ledger = RuleLedger()
    east = institution_id("hospital-east")
    ledger.time_ms = (1 << 64) - 1
    assert permits(ledger, "upload", east, [east]).allowed


def test_who_is_not_registered_is_refused() -> None:
    ledger = RuleLedger()
    with pytest.raises(Refused, match="section 14"):
        permits(ledger, "access", institution_id("nobody"), [institution_id("hospital-east")], purpose="care")


def test_a_chain_without_rules_allows_uploads_of_ones_own_and_nothing_else() -> None:
    ledger = RuleLedger(policies=b"")
    east, west, auditor = map(institution_id, ("hospital-east", "hospital-west", AUDITOR))
    assert permits(ledger, "upload", east, [east]) == Decision(True, PERMITTED)
    for who, action, owner in ((east, "upload", west), (auditor, "upload", auditor), (east, "access", west)):
        assert permits(ledger, action, who, [owner], purpose="care", consent="permit") == Decision(
            False, NO_RULES, (), ZERO_DIGEST
        )


# ---- The same text gives the same decision everywhere ----

GRID = """
import sys
from itertools import product
from ledger.contracts.policy import PolicySet, default_policies
from ledger.contracts.policy_request import PartyFacts, Question
from shangmi import sm3
rules, found = PolicySet.decode(default_policies()), []
east, payer = PartyFacts("a", "A", "hospital"), PartyFacts("b", "P", "insurer")
state = PartyFacts("c", "R", "regulator")
asked = product((east, payer, state), ["care", "claims", "audit"], ["permit", "deny"], *[[False, True]] * 2)
for who, purpose, consent, dataset, approved in asked:
    question = Question(action="access", principal=who, owners=(east, payer), now_ms=1, purpose=purpose,
                        consent=consent, dataset=dataset, approved=approved)
    found.append(repr(rules.decide(question)))
sys.stdout.write(sm3(repr(found).encode()).hex())
"""


def test_decisions_depend_on_no_hash_seed_time_zone_or_locale() -> None:
    environments = [("0", "UTC", "C.UTF-8"), ("1", "Asia/Shanghai", "C.UTF-8"), ("4242", "America/St_Johns", "C")]
    answers = [
        subprocess.run(
            [sys.executable, "-c", GRID], capture_output=True, check=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale},
        ).stdout
        for seed, zone, locale in environments
    ]  # fmt: skip
    assert len(answers[0]) == 64
    assert len(set(answers)) == 1


def test_the_order_of_rules_changes_no_decision() -> None:
    parts = SHIPPED.text.split("\n\n@id")
    turned = replace(SHIPPED, text="\n\n@id".join([parts[0], *reversed(parts[1:])]).replace("// ----", "\n// ----"))
    assert check_policies(turned.text, turned.schema) == []
    for purpose in PURPOSES:
        for who in (EAST, INSURER, UNIVERSITY, REGULATOR):
            asked = {"purpose": purpose, "consent": "permit", "approved": True}
            first, second = ask(who, "access", **asked), ask(who, "access", rules=turned, **asked)
            assert (first.allowed, first.reason, first.policies) == (second.allowed, second.reason, second.policies)
