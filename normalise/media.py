"""Which package normalises which kind of record; it is imported only when such a record comes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Final, Protocol, cast

from normalise.errors import set_aside
from normalise.terminology import translate
from schemas.records import Normalised, SourceContext

#: Media of raw records and the package that makes FHIR of them.
MEDIA: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hl7v2": "normalise.hl7v2",
        "cda": "normalise.cda",
        "fhir": "normalise.fhir",
        "dicom": "normalise.dicom",
        "row": "normalise.rows",
        "omh": "normalise.omh",
        "apple-health": "normalise.apple_health",
        "fit": "normalise.fit",
        "wearable-api": "normalise.wearable_api",
    }
)


class Normaliser(Protocol):
    """What each of the packages offers."""

    #: Version of its mapping: a digest of tables and code.
    MAPPING: str

    def convert(self, content: bytes, context: SourceContext) -> Normalised:
        """Return what one record becomes; SetAside is the only error that bytes can cause."""


def convert(media: str, content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one record becomes.

    Args:
        media: What its bytes are, a key of ``MEDIA``.
        content: One record, as its source sent it.
        context: The source.

    Raises:
        SetAside: The record is refused; the only exception that any bytes can cause.
    """
    return translate(normaliser(media).convert(content, context), context)


@cache
def normaliser(media: str) -> Normaliser:
    """Return the package for a kind of record.

    Raises:
        SetAside: ``unknown_media``: there is none.
    """
    if media not in MEDIA:
        raise set_aside("unknown_media", "", f"Expected one of {', '.join(MEDIA)}; correct the source's media.")
    return cast(Normaliser, import_module(MEDIA[media]))
