"""Errors of the ledger, named by what happens next.

- ``LedgerError``
    - ``Refused``: set the message aside; it breaks a rule and will break it again. Nothing was changed.
        - ``Malformed``: the bytes are not the one canonical encoding of anything.
    - ``Behind``: retry after ``Node.sync``; this node misses blocks that the message builds on.
        - ``TooEarly``: retry when the time it names has passed.
    - ``Halted``: stop; a person must look before this node signs or applies anything again.
        - ``Diverged``: what this replica computes and what a quorum signed are not the same.
    - ``Unreachable``: retry; the node's process did not answer, or failed for a reason outside the ledger.
    - ``ProofError``: refuse the proof file; it proves nothing.

A wrong order of calls is our own mistake and raises ``RuntimeError``, never one of these.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Something the ledger could not accept, or could not do now."""


class Refused(LedgerError):
    """A message breaks a rule.

    Attributes:
        rule: Short name of the rule.
        section: Section of the ledger's design that states it.
        lock_qc: For a PREPARE refused because of a lock: the lock, so that the next producer can use it.
    """

    def __init__(self, rule: str, section: str, message: str, lock_qc: bytes = b"") -> None:
        super().__init__(f"{rule} (section {section}): {message}")
        self.rule = rule
        self.section = section
        self.lock_qc = lock_qc


class Malformed(Refused):
    """Bytes that decode to nothing, or that another encoding of the same value would have to equal."""

    def __init__(self, message: str) -> None:
        super().__init__("encoding", "1", message)


class Behind(LedgerError):
    """The node must catch up before it can judge the message."""


class TooEarly(Behind):
    """A round's time is not over by this node's own clock.

    Attributes:
        milliseconds: What is left of it.
    """

    def __init__(self, message: str, milliseconds: int) -> None:
        super().__init__(message)
        self.milliseconds = milliseconds


class Halted(LedgerError):
    """The node must not go on."""


class Diverged(Halted):
    """This replica and a certified block disagree; both are kept, nothing was overwritten."""


class Unreachable(LedgerError):
    """The node did not answer; the same call may succeed later, and repeating it changes nothing."""


class ProofError(LedgerError):
    """A proof file, its anchor or its envelope does not hold."""
