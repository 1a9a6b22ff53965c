"""What a scorecard was made of: exactly this source file, this mapping, these tables, this suite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Final

import orjson

from normalise import normaliser
from quality.suite import SUITES
from schemas.source import Source
from shangmi import sm3

#: What may change without a new certificate: whether it runs, its title, when somebody is told of its silence.
_FREE: Final = ("enabled", "title", "silence_minutes", "schedule")


def fingerprint(source: Source, media: Iterable[str]) -> str:
    """Return the SM3 digest, in hex, of all that decides what a source's records become.

    Args:
        source: The source's checked file, with its mapping.
        media: What its records are; the versions of the mappings that read them count.
    """
    document = {one.name: getattr(source, one.name) for one in fields(source) if one.name not in _FREE}
    own = dict(source.mapping_document)
    terminology = own.pop("terminology", None)
    document["mapping_document"] = [own, terminology.digest if terminology else ""]
    suite = sm3((SUITES / f"{source.suite}.yaml").read_bytes()).hex()
    mappings = {one: normaliser(one).MAPPING for one in media}
    return sm3(orjson.dumps([document, suite, mappings], option=orjson.OPT_SORT_KEYS, default=dict)).hex()
