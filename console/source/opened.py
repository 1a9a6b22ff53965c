"""The source a command is about, and the site it is opened on; the database is asked for only where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from dags.steps.site import Site
    from schemas.source import Source

Name = Annotated[str, typer.Argument(metavar="NAME", help="The source: sources/NAME.yaml.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def opened(name: str, database: bool = False) -> tuple[Source, Site]:
    """Return a source, enabled or not, and this machine's site.

    Args:
        name: Its id.
        database: Whether the command needs what landed; a source that sends by itself always does.

    Raises:
        ConfigurationError: There is no such source, or its file is wrong.
        PyMongoError: The database does not answer, and is needed.
    """
    from connectors import mode
    from dags.steps.site import site
    from schemas.home import Home

    folder = Home.from_environment().sources
    if not (folder / f"{name}.yaml").is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none yet"
        raise ConfigurationError(f"no source {name!r}; there are: {there}. Make one with `xinglin source init {name}`")
    at = site()
    source = at.source(name)
    if database or mode(source) == "listen":
        from console.records import site as reached

        at = reached()
    return source, at
