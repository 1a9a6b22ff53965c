"""What a scorecard was made of: exactly this source file, this mapping, these tables, this suite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from normalise import normaliser
from quality.suite import SUITES
from schemas.source import Source
from shangmi import sm3

#: What may change without a new certificate: whether it runs, its title, when somebody is told of its silence.
_FREE: Final = ("enabled", "title", "silence_minutes", "schedule")


def fingerprint(source: Source, folder: Path, media: Iterable[str]) -> str:
    """Return the SM3 digest, in hex, of all that decides what a source's records become.

    Args:
        source: The source's checked file.
        folder: Where source files are; its mapping's terminology tables are in ``mappings`` below.
        media: What its records are; the versions of the mappings that read them count.
    """
    document = {name: value for name, value in asdict(source).items() if name not in _FREE}
    tables = [str(name) for name in source.mapping_document.get("terminology", ())]
    files = [folder / "mappings" / name for name in tables] + [SUITES / f"{source.suite}.yaml"]
    held = {path.name: sm3(path.read_bytes()).hex() if path.is_file() else "" for path in files}
    mappings = {one: normaliser(one).MAPPING for one in media}
    return sm3(orjson.dumps([document, held, mappings], option=orjson.OPT_SORT_KEYS, default=dict)).hex()
