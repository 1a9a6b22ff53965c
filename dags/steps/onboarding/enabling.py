"""A source's file is written, and its line ``enabled`` changed; every other byte of the file stays."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from dags.steps.errors import Stop
from dags.steps.onboarding.scorecard import hindrances
from schemas.errors import ConfigurationError
from schemas.home import Home
from schemas.source import Source, load_source

_ENABLED: Final = re.compile(r"^enabled:[^\n]*$", re.MULTILINE)


def write_source(home: Home, document: Mapping[str, Any]) -> Source:
    """Return the source once its file stands; a file that is there already is not touched.

    Raises:
        ConfigurationError: There is such a source already, or the document breaks the schema; nothing is written.
    """
    path = home.sources / f"{document['id']}.yaml"
    if path.exists():
        raise ConfigurationError(f"sources/{path.name} is there already; change it by hand, or choose another name")
    home.sources.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False, width=110)
    trial = path.with_name(f".{os.getpid()}") / path.name
    trial.parent.mkdir()
    try:
        trial.write_text(text, encoding="utf-8")
        if document.get("mapping"):
            (trial.parent / "mappings").symlink_to(home.sources.resolve() / "mappings")
        load_source(trial)
        os.link(trial, path)
    finally:
        for one in trial.parent.iterdir():
            one.unlink()
        trial.parent.rmdir()
    return load_source(path)


def enable(home: Home, source: Source) -> None:
    """The source takes part from now on.

    Raises:
        Stop: It may not; the message says why, and nothing changed.
    """
    if why := hindrances(home, source):
        raise Stop(f"{source.id} is not enabled: " + "; ".join(why))
    _set(home.sources / f"{source.id}.yaml", True)


def disable(home: Home, source: Source) -> None:
    """The source takes no part from now on; what it holds stays."""
    _set(home.sources / f"{source.id}.yaml", False)


def _set(path: Path, enabled: bool) -> None:
    text = path.read_text(encoding="utf-8")
    line = f"enabled: {str(enabled).lower()}"
    changed = _ENABLED.sub(line, text, count=1) if _ENABLED.search(text) else f"{text.rstrip()}\n{line}\n"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(changed, encoding="utf-8")
    if load_source_enabled(unfinished) is not enabled:
        unfinished.unlink()
        raise ConfigurationError(f"sources/{path.name}: write `{line}` on a line of its own by hand")
    unfinished.replace(path)


def load_source_enabled(path: Path) -> bool:
    """Return what a source's file says of ``enabled``."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return isinstance(document, dict) and document.get("enabled") is True


def write_secret(home: Home, name: str, value: str) -> Path:
    """Return the file that holds a secret; only this user reads it.

    Raises:
        ConfigurationError: There is such a secret already, and it is another.
    """
    place = home.path / "secrets"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.read_text(encoding="utf-8").rstrip("\r\n") == value:
            return path
        raise ConfigurationError(
            f"secrets/{name} is there already and is another; delete it, or take another name"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{value}\n")
    return path
