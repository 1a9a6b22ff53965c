"""What a patient permits and denies, as FHIR Consent says it and as records are cut by it."""

from __future__ import annotations

from sharing.consent.cutting import NEEDS_PERMIT, REASONS, Cutter, digest_of, permitted, statements
from sharing.consent.dates import dated, extent

__all__ = ["NEEDS_PERMIT", "REASONS", "Cutter", "dated", "digest_of", "extent", "permitted", "statements"]
