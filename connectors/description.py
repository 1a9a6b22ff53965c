"""What the settings of a kind are, read from the frozen dataclass that checks them: its types, defaults and docstring.

A kind's settings are the one dataclass whose name ends in ``Settings`` that its connector's module defines or imports,
or the module of the class that it derives from; where there are several, the connector's class attribute ``shape``.
Whoever writes a connector writes that class anyway; nothing else has to be written for `xinglin source init` to ask.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from connectors.registry import LISTEN, PULL
from schemas.errors import ConfigurationError

#: What a setting's name ends with where its value is the name of a secret, and the secret is kept elsewhere.
SECRET: Final = "_secret"  # noqa: S105  (a name's end)
_ATTRIBUTE: Final = re.compile(r"^ {0,12}(\w+): (.+?)(?=^ {0,12}\w+: |\Z)", re.MULTILINE | re.DOTALL)

Form = Literal["text", "texts", "integer", "number", "yes or no", "structure"]
_FORMS: Final[Mapping[Any, Form]] = {str: "text", int: "integer", float: "number", bool: "yes or no"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a kind.

    Attributes:
        name: Its key under ``settings``.
        form: What its value is; ``structure`` is YAML of its own.
        required: Whether it must be given.
        default: What it is where it is not given; a tuple stands as a list.
        help: What it is for.
    """

    name: str
    form: Form
    required: bool
    default: Any
    help: str

    @property
    def secret(self) -> bool:
        """Whether its value names a secret, which is asked for hidden and never written into the source's file."""
        return self.name.endswith(SECRET)

    def read(self, text: str) -> Any:
        """Return the value that a text typed by a person means.

        Raises:
            ConfigurationError: It means none; the message names the setting, never the text.
        """
        readers: dict[str, Callable[[str], Any]] = {"text": str, "texts": _texts, "integer": int, "number": float}
        try:
            return readers[self.form](text) if self.form in readers else _yaml(text, self.form)
        except (ValueError, yaml.YAMLError):
            raise ConfigurationError(f"settings: {self.name}: expected {self.form}") from None


def _texts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _yaml(text: str, form: str) -> Any:
    value = yaml.safe_load(text)
    if form == "yes or no" and not isinstance(value, bool):
        raise ValueError
    return value


def kinds() -> dict[str, str]:
    """Return every kind of source and the first sentence of its connector's module, in order of kind."""
    found = {}
    for kind, path in sorted({**PULL, **LISTEN}.items()):
        try:
            text = import_module(path.partition(":")[0]).__doc__ or ""
        except ImportError:  # a kind of an extra that this site did not install
            continue
        found[kind] = " ".join(text.strip().split("\n\n")[0].split())
    return found


def describe(kind: str) -> tuple[Setting, ...]:
    """Return the settings of a kind, those that must be given first.

    Raises:
        ConfigurationError: There is no such kind, or its library is not installed here.
    """
    shape = settings_type(kind)
    hints, told = get_type_hints(shape), _attributes(shape)
    settings = [_setting(one, hints[one.name], told.get(one.name, "")) for one in dataclasses.fields(shape)]
    return tuple(sorted(settings, key=lambda one: not one.required))


def settings_type(kind: str) -> type:
    """Return the dataclass of a kind's settings.

    Raises:
        ConfigurationError: There is no such kind, or its library is not installed here.
        RuntimeError: Neither its module nor those of the classes it derives from have one, or one has several.
    """
    path = {**PULL, **LISTEN}.get(kind)
    if path is None:
        raise ConfigurationError(f"kind {kind!r} is not known; there are {', '.join(sorted({**PULL, **LISTEN}))}")
    module, _, name = path.partition(":")
    try:
        connector = getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigurationError(f"kind {kind}: {error.name} is not installed here; install it first") from None
    if isinstance(declared := getattr(connector, "shape", None), type):
        return declared
    for owner in connector.__mro__:
        if len(shapes := _shapes(import_module(owner.__module__))) == 1:
            return shapes.pop()
    raise RuntimeError(f"{module} must define or import one dataclass named …Settings")


def _shapes(module: types.ModuleType) -> set[type]:
    return {
        value
        for name, value in vars(module).items()
        if name.endswith("Settings") and isinstance(value, type) and dataclasses.is_dataclass(value)
    }


def _setting(one: dataclasses.Field[Any], hint: Any, told: str) -> Setting:
    if one.default is not dataclasses.MISSING:
        required, default = False, one.default
    elif one.default_factory is not dataclasses.MISSING:
        required, default = False, one.default_factory()
    else:
        required, default = True, None
    return Setting(one.name, _form(hint), required, list(default) if isinstance(default, tuple) else default, told)


def _form(hint: Any) -> Form:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Literal:
        return "text"
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return "texts"
    return _FORMS.get(hint, "structure")


def _attributes(shape: type) -> dict[str, str]:
    """Return what ``Attributes:`` of the class's docstring, and of those it derives from, says of each field."""
    told: dict[str, str] = {}
    for one in reversed(shape.__mro__):
        text = (one.__doc__ or "").partition("Attributes:")[2]
        told |= {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(text)}
    return told
