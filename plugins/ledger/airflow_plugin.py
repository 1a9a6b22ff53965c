"""The Airflow plugin, registered by the entry point ``airflow.plugins``; Airflow loads nothing by path.

Every Airflow process loads plugins, tasks included, and only the API server shows pages: so the page's application
is made when somebody first asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_Asgi = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class LedgerPage:
    """The page about the chain, for whom Airflow lets see its plugins; made at the first request."""

    def __init__(self) -> None:
        self._application: _Asgi | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if self._application is None:
            self._application = _page()
        await self._application(scope, receive, send)


def _page() -> _Asgi:
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view

    from ledger.page.application import page_application

    # Airflow protects no plugin's application by itself. Its own dependency takes the session cookie or a bearer
    # token, verifies it, and asks the auth manager, whichever the site has.
    return page_application(requires_access_view(AccessView.PLUGINS), os.environ)


class LedgerPlugin(AirflowPlugin):
    """Makes the ledger's page known to Airflow: an application of its own, and an entry in the menu."""

    name = "xinglin_ledger"
    # Airflow declares both as attributes of the instance and reads them off the class.
    fastapi_apps = [  # noqa: RUF012
        {"name": "Xinglin ledger", "app": LedgerPage(), "url_prefix": "/xinglin"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "账本 Ledger",
            "href": "xinglin/ledger",  # relative: Airflow may be served below a path
            "destination": "nav",
            "category": "browse",
            "url_route": "xinglin-ledger",
        }
    ]
