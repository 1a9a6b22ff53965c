"""A connector's own settings, checked against the frozen dataclass that describes them."""

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from schemas.source import Source

    S = TypeVar("S", bound=DataclassInstance)
else:
    S = TypeVar("S")


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
