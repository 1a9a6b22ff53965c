"""Errors of normalising, named by what happens next.

- SetAside: the one record goes to quarantine with its refusal; the others of the batch go on.
"""

from __future__ import annotations

from schemas.records import Refusal


class SetAside(Exception):
    """One record cannot become FHIR resources; ``refusal`` says why, in the sender's coordinates."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code} {refusal.where}: {refusal.message}")
        self.refusal = refusal


def set_aside(code: str, where: str, message: str) -> SetAside:
    """Return the error for a refusal with these parts."""
    return SetAside(Refusal(code, where, message))
