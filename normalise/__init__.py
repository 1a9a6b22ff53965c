"""Stage 2: a raw record in, FHIR R4 resources out; pure functions, no I/O, mappings are data."""

from normalise.errors import SetAside
from normalise.media import MEDIA, convert, normaliser

__all__ = ["MEDIA", "SetAside", "convert", "normaliser"]
