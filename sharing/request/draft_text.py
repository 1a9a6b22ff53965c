"""Drafts as people write them: YAML without its surprises, each value with its line.

Every scalar is read as the text that stands there: a code 010 stays 010, a version 1.10 stays 1.10, `no` stays a word.
What type a value should have is said by the schema, not guessed from its look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from sharing.errors import Malformed
from sharing.request.reading import Place

#: Bytes of a draft, at most; views of one's own lie in files beside it.
MAX_DRAFT: Final = 64 << 10
_MAX_DEPTH: Final = 20
#: How a draft may write that there is nothing.
_NOTHING: Final = ("", "~", "null", "none")


def read_draft(content: bytes, name: str) -> tuple[Any, dict[Place, int]]:
    """Return what a draft says, all scalars as text, and the line of every place in it.

    Args:
        content: The file.
        name: What to call it in messages.

    Raises:
        Malformed: It is no YAML of this plain kind; names the line.
    """
    if len(content) > MAX_DRAFT:
        raise Malformed(f"{name}: {len(content)} bytes, at most {MAX_DRAFT}")
    try:
        text = content.decode("utf-8")
        _check_events(text, name)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except UnicodeDecodeError:
        raise Malformed(f"{name}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Malformed(f"{name}: {line}{error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, RecursionError):
        raise Malformed(f"{name}: not YAML") from None
    if not isinstance(node, yaml.MappingNode):
        raise Malformed(f"{name}: expected lines like `title: …`; `xinglin request new` writes a draft")
    lines: dict[Place, int] = {}
    return _plain(node, (), lines, name), lines


def _check_events(text: str, name: str) -> None:
    """Raise Malformed at the first alias or too deep bracket: the reader takes time by the square of the depth."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise Malformed(f"{name}: line {line}: aliases (*name) have no place in a request; write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise Malformed(f"{name}: line {line}: more than {_MAX_DEPTH} lists and mappings in each other")


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> Any:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one, (*place, at), lines, name) for at, one in enumerate(node.value)]
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise Malformed(f"{name}: line {line}: a name is expected before the colon")
        if (key := str(key_node.value)) in found:
            raise Malformed(f"{name}: line {line}: {key} stands twice")
        found[key] = _plain(value_node, (*place, key), lines, name)
        lines[(*place, key)] = line
    return found


def typed(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return a draft's value with the types that a JSON Schema gives its places, and the defaults of what is missing.

    What does not fit is left as it is, for the schema to complain about.

    Args:
        value: Texts, lists and mappings.
        schema: Of this place.
        root: The whole schema, for its references.
    """
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]] | {k: v for k, v in schema.items() if k != "$ref"}
    types = schema.get("type", ())
    types = (types,) if isinstance(types, str) else types
    if isinstance(value, str):
        return _scalar(value, types)
    if isinstance(value, list) and "items" in schema:
        return [typed(one, schema["items"], root) for one in value]
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        missing = {key: one["default"] for key, one in parts.items() if "default" in one and key not in value}
        missing |= {key: None for key, one in parts.items() if _is_open(one, root) and key not in value}
        filled = {**missing, **value}
        return {key: typed(one, parts[key], root) if key in parts else one for key, one in filled.items()}
    return value


def _is_open(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether a place may be left out since null stands for it."""
    found = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return "default" in found and found["default"] is None


def _scalar(text: str, types: tuple[str, ...]) -> Any:
    if "null" in types and text.lower() in _NOTHING:
        return None
    if "array" in types and text in _NOTHING:
        return []
    if "integer" in types and text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    return text
