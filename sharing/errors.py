"""Errors of sharing, named by what happens next.

- SharingError
    - Stop: no retry helps; a person must look.
        - Refused: a rule says no; says which, and what would change it.
        - Malformed: a file is not what its format says; nothing of it was used.
        - Tampered: bytes were changed after they were sealed or signed, or do not belong together.
        - NotForThisKey: it is sealed to another key.
        - RiskTooHigh: no allowed generalisation and suppression meets the demands on disclosure risk.
    - NotYet: retry; what it needs is not on the chain, or not delivered, so far.
"""

from __future__ import annotations


class SharingError(Exception):
    """What was asked of sharing cannot be done."""


class Stop(SharingError):
    """No retry helps; a person must look."""


class Refused(Stop):
    """A rule says no.

    Args:
        rule: Its name.
        why: What was expected, what came, what would change the answer.
    """

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"{rule}: {why}")
        self.rule = rule


class Malformed(Stop):
    """A file is not what its format says."""


class Tampered(Stop):
    """Bytes were changed after they were sealed or signed, or do not belong together."""


class NotForThisKey(Stop):
    """It is sealed to another key."""


class RiskTooHigh(Stop):
    """No allowed generalisation and suppression meets the demands on disclosure risk."""


class NotYet(SharingError):
    """What it needs is not on the chain, or not delivered, so far."""
