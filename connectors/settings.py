"""A connector's own settings, checked against the frozen dataclass that describes them."""

from __future__ import annotations

import dataclasses
import os
import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from schemas.source import Source

    S = TypeVar("S", bound=DataclassInstance)
else:
    S = TypeVar("S")


#: How a secret may be called; the name stands in the source's file, the secret never.
_SECRET: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)


def secret(home: Path, source: Source, name: str) -> str:
    """Return the secret that a source's settings name (``password_secret: his-east``).

    It is the environment's ``XINGLIN_SECRET_<NAME>`` (capitals, ``-`` as ``_``) or the content of
    ``<home>/secrets/<name>``, which only this user may read, without the line end.

    Raises:
        ConfigurationError: The name is none, or there is no such secret, or others may read it.
    """
    if not _SECRET.fullmatch(name):
        raise ConfigurationError(f"sources/{source.id}.yaml: a secret's name is letters, digits, - and _")
    capitals = name.upper().replace("-", "_")
    if (given := os.environ.get(f"XINGLIN_SECRET_{capitals}")) is not None:
        return given
    path = home / "secrets" / name
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"secrets/{name}: others may read it; run chmod 600 on it")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(
            f"sources/{source.id}.yaml: no secret {name!r}; set XINGLIN_SECRET_{capitals}, or write it to "
            f"secrets/{name} of the home"
        ) from None


def read_settings(source: Source, shape: type[S]) -> S:
    """Return ``source.settings`` as the frozen dataclass ``shape``, its defaults filled in.

    A field may be ``str``, ``int``, ``float``, ``bool``, ``tuple[str, ...]`` (one string or a list in YAML)
    or one of these or None. Ranges belong into ``__post_init__``, which raises ValueError with the key in its
    message.

    Raises:
        ConfigurationError: A key is unknown, missing, of another type or out of range. Values are never
            repeated in the message: one of them may be a password.
    """
    name = f"sources/{source.id}.yaml: settings"
    fields = {one.name: one for one in dataclasses.fields(shape)}
    hints = get_type_hints(shape)
    if unknown := sorted(set(source.settings) - set(fields)):
        raise ConfigurationError(f"{name}: {unknown[0]} is not known; {source.kind} takes {', '.join(sorted(fields))}")
    for key, one in fields.items():
        no_default = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if no_default and key not in source.settings:
            raise ConfigurationError(f"{name}: {key} is missing; {source.kind} needs it")
    values = {key: _typed(value, hints[key], f"{name}: {key}") for key, value in source.settings.items()}
    try:
        return shape(**values)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _typed(value: Any, hint: Any, name: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(one, str) for one in items):
            return tuple(items)
        raise ConfigurationError(f"{name}: expected a text or a list of texts, got {type(value).__name__}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigurationError(f"{name}: expected {hint.__name__}, got {type(value).__name__}")
    return value
