"""What the rules would say, and what would change it: said in sentences that hold when they are followed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import REQUEST, file

sys.path.append(str(Path(__file__).parents[1] / "ledger"))  # the chain in memory lies beside the ledger's tests

from sharing_world import EAST, INSURER, KEYS, LAB, REGULATOR, WEST, MemoryLedger

from ledger.chain.roster import Registration
from ledger.chain.state import CREDIT
from ledger.chain.state import REQUEST as REQUESTS
from ledger.contracts.policy import PolicySet
from ledger.credit.scoring import CreditState
from ledger.encoding import u32
from ledger.messages.access import AccessRequest
from ledger.messages.asked import SelectionAsked
from sharing.request.answer import Answer, answer, reasons_of
from sharing.request.checks import request_faults
from sharing.request.signing import access_request

NOBODY_SAYS = "No rule"


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def asked(ledger: MemoryLedger, who: bytes = WEST, **changes: Any) -> AccessRequest:
    heading = ledger.heading(who)
    standard: dict[str, Any] = {
        "asked": SelectionAsked(bytes(32), 5_000), "holders": tuple(sorted((EAST, LAB))), "purpose": "research",
        "answer_key": heading["key_id"], "ethics": b"e" * 32,
    }  # fmt: skip
    return AccessRequest(**heading, **(standard | changes))


def said(ledger: MemoryLedger, tx: AccessRequest) -> Answer:
    """The answer; asking changes nothing."""
    before = dict(ledger.values)
    found = answer(ledger, tx.facts(ledger))
    assert ledger.values == before
    return found


def credit(ledger: MemoryLedger, institution: bytes, score: int) -> None:
    ledger.put(CREDIT, institution, CreditState(score, "member", 0, 0).encode())


def test_what_waits_for_the_committee_says_which_rule_would_permit_it(ledger: MemoryLedger) -> None:
    found = said(ledger, asked(ledger))
    assert (found.word, [one.id for one in found.reasons]) == ("pending", ["research.dataset"])
    assert found.reasons[0].says.startswith("A research institution or hospital")
    assert found.remedies == (("Two members of the data access committee approve it.",),)


def test_what_is_allowed_needs_no_change(ledger: MemoryLedger) -> None:
    found = said(ledger, asked(ledger, REGULATOR, purpose="audit"))
    assert (found.word, found.remedies) == ("allowed", ())


def test_everything_that_must_change_together_is_said_together_and_no_more(ledger: MemoryLedger) -> None:
    credit(ledger, WEST, 450)
    found = said(ledger, asked(ledger, ethics=bytes(32), asked=SelectionAsked(bytes(32), 2_000_000)))
    assert (found.word, [one.id for one in found.reasons]) == ("denied", ["never.whole-region"])
    [way] = found.remedies
    assert sorted(one.split(":")[0].split(";")[0] for one in way) == [
        "It asks for 1000000 records or fewer",
        "It names the approval of an ethics committee",
        "Two members of the data access committee approve it.",
        "hospital-west has a credit of 500 or more",
    ]


def test_what_is_said_to_help_helps(ledger: MemoryLedger) -> None:
    credit(ledger, WEST, 450)
    poor = asked(ledger, ethics=bytes(32))
    assert said(ledger, poor).word == "denied"
    credit(ledger, WEST, 500)
    assert said(ledger, poor).word == "denied"
    assert said(ledger, asked(ledger)).word == "pending"


def test_too_many_requests_wait_for_the_next_epoch(ledger: MemoryLedger) -> None:
    ledger.put(REQUESTS, WEST, u32(0) + u32(0) + u32(20))
    found = said(ledger, asked(ledger))
    assert [one.id for one in found.reasons] == ["rate.datasets"]
    assert any(one.startswith("It waits for the next epoch: 20 requests") for one in found.remedies[0])
    ledger.epoch = 1
    assert said(ledger, asked(ledger)).word == "pending"


def test_a_purpose_that_is_not_ones_own_is_told_the_ones_that_are(ledger: MemoryLedger) -> None:
    found = said(ledger, asked(ledger, INSURER))
    assert found.word == "denied"
    assert found.remedies == (("No rule lets an insurer have a dataset for research; the rules know: claims.",),)
    ledger.policies = PolicySet(
        '@id("none") @says("Nothing.") forbid (principal, action, resource);', PolicySet.decode(ledger.policies).schema
    ).encode()
    assert said(ledger, asked(ledger)).remedies[0][0].startswith("No rule lets a hospital have such a dataset")


def test_a_reader_who_may_not_is_told_who_may(ledger: MemoryLedger) -> None:
    found = said(ledger, asked(ledger, reader="patient"))
    assert any("leave `reader` empty" in one for one in found.remedies[0])


def test_without_rules_everything_is_denied_and_governance_is_named(ledger: MemoryLedger) -> None:
    ledger.policies = b""
    found = said(ledger, asked(ledger))
    assert found.word == "denied" and "governance" in found.remedies[0][0]


def test_reasons_of_a_receipt_are_told_by_the_rules_in_force(ledger: MemoryLedger) -> None:
    told = reasons_of(ledger.policies, ("research.dataset", "gone"))
    assert [one.id for one in told] == ["research.dataset", "gone"]
    assert told[1].says == "a rule that is no longer in force" and reasons_of(b"", ("a",))[0].id == "a"


def test_a_file_becomes_the_transaction_that_asks_for_what_it_says(ledger: MemoryLedger) -> None:
    content = file()
    tx = access_request(REQUEST, content, ledger.heading(WEST))
    facts = tx.facts(ledger)
    assert (facts.most, facts.purpose, facts.holders) == (5_000, "research", tuple(sorted((EAST, LAB))))
    assert REQUEST.ethics is not None and facts.ethics == REQUEST.ethics.digest


def test_a_frozen_holder_and_a_misspelt_one_are_named_with_the_nearest_name(ledger: MemoryLedger) -> None:
    ledger.stand(EAST, "frozen")
    wrong = replace(REQUEST, holders=("hospital-east", "lab-center"))
    told = [str(one) for one in request_faults(wrong, ledger.roster, wrong.chain_id, REQUEST.made)]
    assert told[0].startswith("holders/0: hospital-east is frozen")
    assert told[1] == "holders/1: the region has no institution 'lab-center'; lab-centre is meant?"
    assert isinstance(ledger.roster.registration(EAST), Registration) and KEYS[EAST]
