"""Invariant 8 exhaustively: the real rules of evidence on every state of the accountability model."""

from __future__ import annotations

from itertools import combinations

from accountability_model import SOUND, Model, honest_lives

from ledger.credit.contradictions import contradiction
from ledger.credit.offences import DOUBLE_VOTE


def test_whenever_two_blocks_are_decided_two_voters_are_convicted_and_nobody_honest_is() -> None:
    assert Model(rounds=2).check() == SOUND


def test_evidence_of_double_votes_alone_lets_one_of_two_guilty_voters_go() -> None:
    assert "goes free" in Model(rounds=2, rules=frozenset({DOUBLE_VOTE})).check()


def test_certificates_over_mixed_justifications_let_one_of_two_guilty_voters_go() -> None:
    assert "goes free" in Model(rounds=2, same_justify=False).check()


def test_a_lock_on_the_block_instead_of_its_round_would_frame_honest_voters() -> None:
    framed = [
        spoken
        for spoken in honest_lives(3, strict=False)
        if any(contradiction(one, other) is not None for one, other in combinations(spoken, 2))
    ]
    assert framed


def test_no_life_of_an_honest_voter_over_three_rounds_contains_a_contradiction() -> None:
    lives = 0
    for spoken in honest_lives(3):
        lives += 1
        assert all(contradiction(one, other) is None for one, other in combinations(spoken, 2))
    assert lives == 9_432
