"""`xinglin source kinds` and `init`: which kinds there are, and a source's file from answers or flags."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.screen import say
from console.source.opened import Json
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from connectors.description import Setting
    from schemas.home import Home

_ZONE: Final = "Asia/Shanghai"
_EVERY_FIVE: Final = "*/5 * * * *"
#: Settings with a default that a person is asked for all the same: what nearly every site says otherwise.
_ASKED: Final = frozenset({"host", "pattern", "recursive"})


def kinds(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, with its settings.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List the kinds of sources there are, or the settings of one."""
    from connectors.description import describe
    from connectors.description import kinds as known

    with sentences():
        if kind is None:
            rows = list(known().items())
            say("\n".join(f"{name}\n  {text}" for name, text in rows)) if not as_json else print_json(dict(rows))
            return
        settings = describe(kind)
    if as_json:
        print_json([{"name": one.name, "form": one.form, "required": one.required, "default": one.default,
                     "secret": one.secret, "help": one.help} for one in settings])  # fmt: skip
        return
    for one in settings:
        say(f"{one.name}  ({_form(one)})\n  {one.help}")


def _form(one: Setting) -> str:
    if one.secret:
        return "the name of a secret" + ("" if one.required else ", if it needs one")
    return f"{one.form}, required" if one.required else f"{one.form}, default {_shown(one.default) or 'none'}"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and -.", show_default=False)],
    kind: Annotated[str | None, typer.Option(help="One of `xinglin source kinds`.")] = None,
    institution: Annotated[str | None, typer.Option(help="Who owns its records, as in region.yaml.")] = None,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    time_zone: Annotated[str, typer.Option(help="Zone of times without an offset.")] = _ZONE,
    charset: Annotated[str, typer.Option(help="Codec of records that declare none, or auto.")] = "auto",
    schedule: Annotated[str, typer.Option(help="Cron expression of its DAG, or none.")] = _EVERY_FIVE,
    mapping: Annotated[str | None, typer.Option(help="sources/mappings/NAME.yaml, where it has one.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of its kind; again for more.")
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="YAML file with settings, where they are long.")
    ] = None,
    secrets: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="KEY", help="Ask for this optional secret, too; hidden, or read from stdin."),
    ] = None,
) -> None:
    """Write sources/NAME.yaml, not enabled yet; what flags do not say is asked for on a terminal."""
    from dags.steps.onboarding.enabling import write_source
    from schemas.home import Home

    home = Home.from_environment()
    with sentences():
        if (home.sources / f"{name}.yaml").exists():
            raise ConfigurationError(f"sources/{name}.yaml is there already; change it by hand, or take another name")
        kind = kind or _choose("kind", "What does the source speak?", _kinds())
        institution = institution or _choose("institution", "Whose records are they?", _institutions(home))
        title = title or _ask("title", "What do people call it?", name)
        given = _given(kind, settings or [], settings_file)
        given |= _asked(kind, name, home, given, secrets or [])
        document = {
            "id": name,
            "title": title,
            "institution": institution, "kind": kind, "enabled": False,
            "time_zone": time_zone, "charset": charset, "schedule": None if schedule == "none" else schedule,
            **({"mapping": mapping} if mapping else {}),
            "settings": given,
        }  # fmt: skip
        source = write_source(home, document)
        _try_settings(home, source.id)
        folder = given.get("folder")
        if isinstance(folder, str) and not Path(folder).is_absolute():
            (home.path / folder).mkdir(parents=True, exist_ok=True)
    say(f"written: {home.sources / f'{name}.yaml'}  (not enabled yet)\nnext: xinglin source check {name}")


def _kinds() -> dict[str, str]:
    from connectors.description import kinds as known

    return known()


def _institutions(home: Home) -> dict[str, str]:
    from schemas.region import load_region

    return {one.id: one.name for one in load_region(home.region).institutions}


def _choose(flag: str, question: str, choices: dict[str, str]) -> str:
    if not sys.stdin.isatty():
        fail(f"--{flag} is missing; there are {', '.join(choices)}", USAGE)
    say("\n".join([question, *(f"  {at}  {one}  {text}" for at, (one, text) in enumerate(choices.items(), 1))]))
    while True:
        answer = input(f"{flag}: ").strip()
        if answer in choices:
            return answer
        if answer.isdigit() and 1 <= int(answer) <= len(choices):
            return list(choices)[int(answer) - 1]
        say(f"expected a number from 1 to {len(choices)}, or a name from the list")


def _ask(flag: str, question: str, default: str) -> str:
    if not sys.stdin.isatty():
        return default
    return input(f"{question} [{default}] ({flag}): ").strip() or default


def _given(kind: str, pairs: list[str], file: Path | None) -> dict[str, Any]:
    """Return the settings that flags give, each as its type."""
    from connectors.description import describe

    known = {one.name: one for one in describe(kind)}
    found: dict[str, Any] = {}
    if file is not None:
        import yaml

        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(loaded, dict):
            raise ConfigurationError(f"{file.name}: expected a YAML mapping of settings")
        found |= loaded
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            fail(f"--set {key}: expected KEY=VALUE", USAGE)
        if key not in known:
            raise ConfigurationError(f"settings: {key} is not known; {kind} takes {', '.join(known)}")
        found[key] = known[key].read(value)
    return found


def _asked(kind: str, name: str, home: Home, given: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Return the settings that are still missing, from a person; secrets are stored, and only their names returned."""
    from connectors.description import describe

    found: dict[str, Any] = {}
    for one in describe(kind):
        if one.name in given:
            continue
        if one.secret:
            found |= _secret(one, name, home, one.required or one.name in wanted)
        elif one.required or (one.name in _ASKED and sys.stdin.isatty()):
            found |= _setting(one)
    return found


def _setting(one: Setting) -> dict[str, Any]:
    if not sys.stdin.isatty():
        fail(f"--set {one.name}=… is missing: {one.help}", USAGE)
    default = _shown(one.default)
    while True:
        answer = input(f"{one.help} ({one.name}, {one.form}){f' [{default}]' if default else ''}: ").strip()
        if not answer and not one.required:
            return {}
        if answer:
            try:
                return {one.name: one.read(answer)}
            except ConfigurationError as error:
                say(str(error))


def _secret(one: Setting, source: str, home: Home, needed: bool) -> dict[str, str]:
    """Return the name under which the secret is stored now, for this user alone; nothing where there is none."""
    if not needed and not sys.stdin.isatty():
        return {}
    from connectors.description import SECRET
    from dags.steps.onboarding.enabling import write_secret

    question = f"{one.help} ({one.name}; not shown, kept under secrets/{'' if needed else '; Enter for none'}): "
    value = getpass.getpass(question) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not value and not needed:
        return {}
    if not value:
        raise ConfigurationError(f"settings: {one.name}: a secret is needed; type it, or give it on stdin")
    kept = f"{source}-{one.name.removesuffix(SECRET).replace('_', '-')}"
    write_secret(home, kept, value)
    return {one.name: kept}


def _try_settings(home: Home, name: str) -> None:
    """Say at once what the connector would say later; a file that cannot be used is taken away again."""
    from connectors.description import settings_type
    from connectors.settings import read_settings
    from schemas.source import load_source

    path = home.sources / f"{name}.yaml"
    source = load_source(path)
    try:
        read_settings(source, settings_type(source.kind))
    except ConfigurationError:
        path.unlink()
        raise
