"""YAML documents checked against the JSON Schemas of this folder, defaults filled in."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

HERE = Path(__file__).parent


@cache
def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


@cache
def _validator(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # a fifth of a second, and most commands read no document

    return Draft202012Validator(_schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)


def load_document(path: Path, schema: str) -> dict[str, Any]:
    """Return the YAML mapping in ``path``, valid under ``<schema>.schema.json``, with its defaults.

    Raises:
        ConfigurationError: The file cannot be read, is no YAML mapping, or breaks the schema; the message names
            the file, the element and the rule.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path.name}: cannot be read as YAML: {type(error).__name__}") from error
    check_document(document, schema, path.name)
    return _with_defaults(document, schema)


def check_document(document: object, schema: str, name: str) -> None:
    """Raise ConfigurationError where ``document`` breaks the schema; ``name`` begins the message."""
    for error in _validator(schema).iter_errors(document):
        where = "/".join(str(part) for part in error.absolute_path) or "the document"
        raise ConfigurationError(f"{name}: {where}: {error.message}")


def _with_defaults(document: dict[str, Any], schema: str) -> dict[str, Any]:
    properties = _schema(schema)["properties"]
    defaults = {key: rule["default"] for key, rule in properties.items() if "default" in rule}
    return {**defaults, **document}
