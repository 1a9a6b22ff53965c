"""Which patient is meant: by the id of a Patient here, or by a number that is read and never shown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from console.exits import USAGE, fail

if TYPE_CHECKING:
    from vault.store import Vault

Patient = Annotated[str, typer.Option("--patient", help="Id of the Patient here.")]
Number = Annotated[bool, typer.Option("--number", help="The patient is named by an identifier's value on stdin.")]
System = Annotated[
    str | None, typer.Option("--system", help="The identifier's system; default the resident identity number.")
]


@dataclass(frozen=True, slots=True)
class Found:
    """How a patient is named.

    Attributes:
        patient: Id of the Patient; "" where a number on stdin names it.
        number: Whether it does.
        system: The number's system; None is resident identity numbers.
    """

    patient: str
    number: bool
    system: str | None

    @property
    def named(self) -> bool:
        """Whether anybody is named."""
        return bool(self.patient) != self.number

    def __repr__(self) -> str:
        return "Found(…)"


def patient_of(vault: Vault, found: Found) -> str:
    """Return the id of the Patient that is meant; the patients of one person are all the same here.

    A number that nobody has, or several persons, ends the command.
    """
    if found.patient:
        return found.patient
    ids = _by_number(vault, found.system)
    if not ids:
        fail("nobody here has that number")
    if len({vault.persons.of(one).survivor for one in ids}) > 1:
        fail("several persons have that number here; `xinglin identity list` tells what is to be decided", USAGE)
    return ids[0]


def _by_number(vault: Vault, system: str | None) -> list[str]:
    from schemas.residents import RESIDENT, is_resident_number

    number = sys.stdin.readline().strip()
    if system is None and not is_resident_number(number):
        fail(
            "stdin holds no resident identity number: expected 18 places with the right check character; else --system"
        )
    places = vault.records.find(identifier=(system or RESIDENT, number), resource_type="Patient")
    return [str(vault.records.open_located(one.locator)["id"]) for one in places if not one.erased]
