"""A summary: the few facts of a record that every registered institution may read without asking.

No name, number or free text: pseudonyms, a date, standard codes and an amount. ``docs/formats/summary.md`` has the
bytes; the vault writes them, ``ledger.messages.sealed_summary`` reads them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

PSEUDONYM: Final = 32
MAX_CODE: Final = 32
DOMAIN: Final = b"XL/SUMM/1\0"
#: Domain, person, patient, type, date, total, class and conclusion: each code behind its length, in 32 bytes.
LAYOUT: Final = struct.Struct(f">{len(DOMAIN)}s{PSEUDONYM}s{PSEUDONYM}sHIQ{MAX_CODE + 1}p{MAX_CODE + 1}p")
#: No date, no amount.
NO_DATE: Final = 0
NO_TOTAL: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What one sealed summary says.

    Attributes:
        person: Pseudonym of the person in the region, 32 bytes; the same at every institution that knows the
            person's resident number.
        patient: Pseudonym of the patient at the institution, 32 bytes; consents and requests name it.
        resource_type: Number of the FHIR type.
        date: When it happened, YYYYMMDD as a number; 0 where the record does not say.
        code_class: Standard code of the kind of thing it is (``LAB``, ``IMP``), or "".
        conclusion: Standard code of what was found (an ICD-10 code, ``H``), or "".
        total_fen: What it cost, hundredths of a yuan; None where it says nothing of it.
    """

    person: bytes
    patient: bytes
    resource_type: int
    date: int
    code_class: str
    conclusion: str
    total_fen: int | None

    def encode(self) -> bytes:
        """Return the canonical bytes, as many for every summary; see ``docs/formats/summary.md``."""
        total = NO_TOTAL if self.total_fen is None else self.total_fen
        codes = self.code_class.encode("ascii"), self.conclusion.encode("ascii")
        return LAYOUT.pack(DOMAIN, self.person, self.patient, self.resource_type, self.date, total, *codes)
