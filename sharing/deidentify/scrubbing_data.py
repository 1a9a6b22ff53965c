"""The rules of ``schemas/deidentify/text``, read once."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import yaml

_FOLDER: Final = files("schemas") / "deidentify" / "text"
#: Full-width forms as half-width ones, character for character, so that places stay.
NARROW: Final = {0x3000: " ", 0xA0: " ", **{0xFF01 + n: chr(0x21 + n) for n in range(94)}}
HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f〇"


@lru_cache(maxsize=8)
def rules(name: str) -> Any:
    """Return the content of one file of rules, ``names`` for ``names.yaml``."""
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text("utf-8"))


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Return the words that are built like names.

    Every entry of the dictionary of jieba 0.42.1 (MIT, github.com/fxsjy/jieba) that is a family name's character and
    one or two of given names, is no person there, and is met often enough.
    """
    return frozenset((_FOLDER / "words.csv").read_text("utf-8").split()[1:])


def alternatives(listed: str) -> str:
    """Return a pattern for the words of a list divided by spaces, longest first, so that no prefix wins."""
    return "|".join(map(re.escape, sorted(set(listed.split()), key=lambda one: (-len(one), one))))
