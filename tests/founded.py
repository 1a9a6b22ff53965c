"""A founded site in one process: real keys and a real mongod; Airflow is the only part that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from console.region.founding import found
from dags.steps.site import Site, site
from schemas.home import Home


@contextmanager
def founded_site(home: Home) -> Iterator[Site]:
    """The home is founded and its site open; the site's databases are empty before and gone afterwards."""
    found(home)
    with opened_site(home) as at:
        yield at


@contextmanager
def opened_site(home: Home) -> Iterator[Site]:
    """The site of a founded home; its databases are empty before and gone afterwards."""
    at = Site(home)
    _clear(at)
    try:
        yield at
    finally:
        _clear(at)
        at.close()


def forget_site() -> None:
    """The next command or task of this process opens its site anew, as a process would."""
    if site.cache_info().currsize:
        site().close()
        site.cache_clear()


def _clear(at: Site) -> None:
    for name in at.client.list_database_names():
        if name.startswith(("xinglin_", "ledger_")):
            at.client.drop_database(name)
