"""Which rules may be proposed, what may not reach the engine, and what counts as only denying (section 14)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.contracts.policy import PolicySet, default_policies
from ledger.contracts.policy_check import changes, check_policies, rules_of
from ledger.contracts.policy_engine import schema_faults
from ledger.contracts.policy_request import CONSENTS, PURPOSES, PartyFacts, Question
from ledger.contracts.policy_text import MAX_DEPTH, MAX_RULES, MAX_TEXT, MAX_TOKENS, is_line, text_faults
from ledger.contracts.policy_trials import compare

SHIPPED = PolicySet.decode(default_policies())
SCHEMA = SHIPPED.schema
SAYS = '@id("one") @says("What it means.")'


def findings(rule: str) -> str:
    return "\n".join(map(str, check_policies(rule, SCHEMA)))


def rule(condition: str, effect: str = "permit", action: str = 'action == Action::"access"', id_: str = "one") -> str:
    return f'@id("{id_}") @says("What it means.") {effect} (principal, {action}, resource) when {{ {condition} }};'


def test_the_shipped_rules_may_be_proposed() -> None:
    assert check_policies(SHIPPED.text, SCHEMA) == []
    assert len(SHIPPED.text.encode()) < MAX_TEXT / 4  # a region has room for its own


def test_every_shipped_rule_says_what_it_means_in_a_sentence() -> None:
    said = rules_of(SHIPPED.text)
    assert len(said) == 17
    assert all(one.says.endswith(".") and one.says[0].isupper() for one in said)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("principal.creditt > 1", "attribute `creditt`"),
        ("context.porpose == context.purpose", "porpose"),
        ('context.purpose == Purpose::"caer"', '`"caer"` is not declared'),
        ('context.purpose == Porpose::"care"', "Porpose"),
        ('context.purpose == "care"', "not compatible"),
        ('principal.credit > "1"', "expected"),
        ('resource.type == "Observation"', "optional attribute `type`"),
        ('resource has type || resource.type == "X"', "optional attribute `type`"),
        ("context.waited > 1", "waited"),
        ('context.now > datetime("yesterday")', "yesterday"),
        ("1 + 1", "expected"),
    ],
)
def test_what_the_schema_does_not_know_or_may_miss_is_found(condition: str, expected: str) -> None:
    found = findings(rule(condition))
    assert expected in found
    assert found.startswith("one: ")  # the rule is named as its author named it


def test_an_attribute_that_may_be_missing_is_accepted_behind_has() -> None:
    assert findings(rule('resource has type && resource.type == "Observation"')) == ""


def test_a_misspelt_action_is_found() -> None:
    assert 'unrecognized action `Action::"uplaod"`' in findings(rule("true", action='action == Action::"uplaod"'))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("permit(principal", "cannot be read"),
        (f"{SAYS} permit (principal == ?principal, action, resource);", "templates"),
        ('@says("x") permit (principal, action, resource);', '@id("…") is missing'),
        ('@id("One Two") @says("x") permit (principal, action, resource);', '@id("…") is missing or not made of'),
        ('@id("one") permit (principal, action, resource);', '@says("…") is missing'),
        ('@id("one") @says(" ") permit (principal, action, resource);', '@says("…") is missing'),
        ('@id("one") @says("a\\nb") permit (principal, action, resource);', '@says("…") is missing'),
        (f'{SAYS} @why("x") permit (principal, action, resource);', "unknown annotation @why"),
        (rule("true") + rule("true", "forbid"), "two rules bear this @id"),
        (rule('principal == Institution::"hоspital-east"'), "beyond ASCII"),
        ('@id("one") @says("safe\u202e") permit (principal, action, resource);', "U+202E is not seen"),
        (rule("true") + "// \u200b", "U+200B is not seen"),
        (rule("true") + "// \r permit", "U+000D is not seen"),
        (rule("true") + "\x00", "U+0000 is not seen"),
        ("x" * (MAX_TEXT + 1), "bytes, at most"),
        ("".join(rule("true", id_=f"r{number}") for number in range(MAX_RULES + 1)), "rules, at most"),
    ],
)
def test_a_text_that_may_not_be_proposed_is_found(text: str, expected: str) -> None:
    assert expected in findings(text)


def test_a_schema_with_a_typo_or_any_other_than_the_shipped_is_found() -> None:
    for wrong in (SCHEMA.replace("Long", "Lomg"), SCHEMA + " ", "", SCHEMA.replace("credit: Long", "credit?: Long")):
        assert "the schema is none that this program fills in" in str(check_policies(SHIPPED.text, wrong)[0])
    assert schema_faults(SHIPPED.text, SCHEMA.replace("credit: Long", "credit: Lomg"))
    assert "optional" in str(schema_faults(SHIPPED.text, SCHEMA.replace("credit: Long", "credit?: Long")))


# ---- What would end the process never reaches the engine ----

DEEP = {
    "brackets": lambda n: "(" * n + "true" + ")" * n,
    "and": lambda n: "true" + " && true" * n,
    "if": lambda n: "if true then " * n + "true" + " else true" * n,
    "else if": lambda n: "if true then true else " * n + "true",
    "records": lambda n: "{a: " * n + "1" + "}" * n + " == 1",
    "sets": lambda n: "[" * n + "]" * n + " == []",
    "plus": lambda n: "1" + " + 1" * n + " == 1",
    "attributes": lambda n: "context" + ".a" * n + " == 1",
    "methods": lambda n: "[1]" + ".contains(1)" * n,
    "has": lambda n: "context has a" + ".a" * n,
    "not": lambda n: "!" * n + "true",
    "minus": lambda n: "-" * n + "1 == 1",
    "calls": lambda n: "ip(" * n + '"1"' + ")" * n + " == 1",
}


@pytest.mark.parametrize("shape", DEEP)
def test_a_condition_that_would_overflow_the_engines_stack_is_found_without_it(shape: str) -> None:
    deep = rule(DEEP[shape](6_000))
    assert list(text_faults(deep)) or "too many occurrences" in findings(deep)
    assert findings(deep)
    hidden = rule('"//" == "\\"" || (' + DEEP[shape](6_000) + ")")
    assert findings(hidden)


SMALL_STACK = """
import sys, threading
from ledger.contracts.policy import PolicySet, default_policies
from ledger.contracts.policy_check import check_policies
from ledger.contracts.policy_engine import CompiledRules
schema = PolicySet.decode(default_policies()).schema
def run():
    for text in sys.stdin.read().split("\\0"):
        if not check_policies(text, schema):
            CompiledRules(text, schema).ask([], [])
    sys.stdout.write("survived")
threading.stack_size(1 << 20)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_the_deepest_text_that_reaches_the_engine_does_not_overflow_even_a_small_stack() -> None:
    """A worse stack than any thread of a node has: 1 MiB, an eighth of Linux's own."""
    texts = []
    for make in DEEP.values():
        fitting = [n for n in range(1, MAX_TOKENS) if not list(text_faults(rule(make(n))))]
        texts.append(rule(make(max(fitting))))
        inner = MAX_DEPTH - 6
        texts.append(rule("(" * inner + make(max(n for n in fitting if n < 90)) + ")" * inner))
    done = subprocess.run([sys.executable, "-c", SMALL_STACK], input="\0".join(texts), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "survived")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(
            ["permit", "forbid", "(", ")", "{", "}", "[", "]", "principal", "action", "resource", "context", ".", ",",
             ";", "==", "&&", "||", "when", "unless", "if", "then", "else", "has", "in", "like", "is", '"x"', "1", "-",
             "!", '@id("a")', '@says("b")', "Party", "::", '"', "//", "\n", "?principal", "\\", "é"]
        ),
        max_size=60,
    )
)  # fmt: skip
def test_any_text_is_judged_and_none_crashes_the_check(words: list[str]) -> None:
    for finding in check_policies(" ".join(words), SCHEMA):
        assert finding.message


# ---- What can only deny ----

GROUNDS = [
    "true", "principal.credit < 300", "context.records > 5", 'principal == Institution::"east"',
    'principal.party == Party::"insurer"', 'resource.owner == Institution::"west"', "resource.erased",
    'resource has type && resource.type == "Condition"', "principal.credit * 9223372036854775807 > 1",
]  # fmt: skip
PEOPLE = [
    PartyFacts("east", "A", "hospital"), PartyFacts("west", "A", "hospital", credit=250),
    PartyFacts("payer", "P", "insurer"), PartyFacts("school", "P", "research"), PartyFacts("state", "R", "regulator"),
]  # fmt: skip


def trials() -> list[Question]:
    shapes = product(PEOPLE, PURPOSES, CONSENTS, (False, True), (False, True))
    asked = [
        Question(action="access", principal=who, owners=(PEOPLE[1],), now_ms=1, purpose=purpose, consent=consent,
                 dataset=dataset, approved=approved, records=7 if dataset else 1)
        for who, purpose, consent, dataset, approved in shapes
    ]  # fmt: skip
    return asked + [Question(action="upload", principal=one, owners=(one,), now_ms=1) for one in PEOPLE]


DENIED_NOW = [one for one in trials() if not SHIPPED.decide(one).allowed]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(GROUNDS), min_size=1, max_size=3), st.integers(0, 3))
def test_further_forbids_only_deny(grounds: list[str], place: int) -> None:
    added = [
        f'@id("new.{number}") @says("x") forbid (principal, action, resource) when {{ {ground} }};'
        for number, ground in enumerate(grounds)
    ]
    parts = SHIPPED.text.split("\n\n")
    new = replace(SHIPPED, text="\n\n".join([*parts[: place + 2], *added, *parts[place + 2 :]]))
    assert check_policies(new.text, SCHEMA) == []
    assert changes(SHIPPED, new).deny_only
    assert not any(new.decide(one).allowed for one in DENIED_NOW[place::4])


def shipped_with(**changed: Any) -> PolicySet:
    return replace(SHIPPED, **changed)


@pytest.mark.parametrize(
    "new",
    [
        shipped_with(text=SHIPPED.text + rule("true", id_="new")),
        shipped_with(text=SHIPPED.text + rule("true", id_="new") + rule("true", "forbid", id_="newer")),
        shipped_with(text=SHIPPED.text[: SHIPPED.text.index('@id("download.lapsed")')]),
        shipped_with(text=SHIPPED.text.replace("principal.credit < 200", "principal.credit < 199")),
        shipped_with(text=SHIPPED.text.replace("principal.credit < 200", "principal.credit < 201")),
        shipped_with(text=SHIPPED.text.replace("when { resource.erased }", "unless { resource.erased }")),
        shipped_with(text=SHIPPED.text.replace("Nobody receives an erased", "Anybody receives an erased")),
        shipped_with(text=SHIPPED.text.replace('@id("never.erased")', '@id("never.burnt")')),
        shipped_with(
            text=SHIPPED.text.replace('forbid (principal, action, resource)\nwhen { principal.standing',
                                      'permit (principal, action, resource)\nwhen { principal.standing')
        ),
        shipped_with(engine="cedar-4.13"),
        shipped_with(schema=SCHEMA + "// "),
        shipped_with(text=""),
    ],
    ids=["a permit more", "a permit and a forbid more", "a forbid less", "a forbid looser", "a forbid stricter",
         "a forbid turned round", "another sentence", "another name", "forbid made permit", "another engine",
         "another schema", "nothing"],
)  # fmt: skip
def test_any_other_change_of_the_rules_may_widen_and_waits(new: PolicySet) -> None:
    assert not changes(SHIPPED, new).deny_only


def test_a_permit_that_takes_the_name_of_a_forbid_is_no_denial() -> None:
    old = shipped_with(text=rule("true", "forbid", id_="a") + rule("true", id_="b"))
    assert not changes(old, shipped_with(text=rule("true", id_="a") + rule("true", id_="b"))).deny_only
    assert not changes(old, shipped_with(text=rule("true", "forbid", id_="b") + rule("true", id_="a"))).deny_only


def test_what_changes_is_named_rule_by_rule() -> None:
    text = SHIPPED.text.replace("principal.credit >= 400", "principal.credit >= 450") + rule("true", "forbid", id_="n")
    found = changes(SHIPPED, shipped_with(text=text[: text.index('@id("download.lapsed")')] + rule("true", id_="n")))
    assert [one.id for one in found.added] == ["n"]
    assert [one.id for one in found.removed] == ["download.lapsed"]
    assert [old.id for old, _ in found.changed] == ["claims.consented", "claims.dataset"]
    assert not found.frame


def test_layout_and_remarks_change_nothing() -> None:
    assert changes(SHIPPED, shipped_with(text="// hello\n" + SHIPPED.text.replace("\n", "\n\n  "))) == changes(
        SHIPPED, SHIPPED
    )


@pytest.mark.parametrize(
    ("text", "good"), [("开放科研", True), ("", False), (" x", False), ("a\nb", False), ("\u2066a", False)]
)
def test_a_title_is_one_line_that_can_be_seen(text: str, good: bool) -> None:
    assert is_line(text) is good


# ---- What a change means for people ----


def test_the_same_rules_change_nothing_for_anybody() -> None:
    found = compare(SHIPPED, shipped_with(text=SHIPPED.text + "// a remark"))
    assert (found.allowed, found.denied) == ((), ())
    assert found.tried > 200


def test_a_moved_threshold_shows_on_both_sides_of_it() -> None:
    new = shipped_with(text=SHIPPED.text.replace("principal.credit >= 400", "principal.credit >= 350"))
    found = compare(SHIPPED, new)
    assert found.denied == ()
    assert {(one.who, one.purpose) for one in found.allowed} == {("an-insurer", "claims")}
    assert {one.credit for one in found.allowed} == {350, 351, 399}


def test_a_rule_about_downloads_alone_shows_for_downloads_alone() -> None:
    stop = '@id("stop") @says("x") forbid (principal, action == Action::"download", resource);'
    found = compare(SHIPPED, shipped_with(text=SHIPPED.text + stop))
    assert found.allowed == ()
    assert {one.action for one in found.denied} == {"download"}


def test_an_institution_that_a_rule_names_is_asked_as_what_it_is() -> None:
    named = '@id("n") @says("x") permit (principal == Institution::"payer", action == Action::"access", resource);'
    found = compare(SHIPPED, shipped_with(text=SHIPPED.text + named), [PartyFacts("payer", "P", "insurer")])
    assert {one.who for one in found.allowed} == {"payer"}
    assert not any(one.consent == "deny" for one in found.allowed)
    assert not any(one.purpose == "claims" and one.consent == "permit" for one in found.allowed)  # it might before


def test_a_change_of_how_much_may_be_asked_is_tried_on_both_sides_of_its_numbers() -> None:
    looser = replace(SHIPPED, text=SHIPPED.text.replace("context.recent >= 20 ", "context.recent >= 30 "))
    found = compare(SHIPPED, looser)
    assert found.denied == () and {one.recent for one in found.allowed} == {20, 21, 29}
    assert all(one.dataset for one in found.allowed)


def test_dropping_the_ethics_approval_is_told_as_requests_without_it() -> None:
    looser = replace(SHIPPED, text=SHIPPED.text.replace("context.ethics && ", ""))
    found = compare(SHIPPED, looser)
    assert found.denied == () and {(one.ethics, one.approved, one.purpose) for one in found.allowed} == {
        (False, True, "research")
    }
