"""How a feed's trouble is told: an Airflow notifier that a site may put others beside, and the callback list it is in.

``XINGLIN_ALERT_URL_FILE`` names a file, readable for this user alone, with the address that alerts are posted to as
JSON; without one they stand in the task's log, in the Airflow page and in `xinglin source status`. A site that has a
notifier of its own (mail, chat) names it in ``XINGLIN_NOTIFIERS``: ``package.module:callable``, by commas; each is
called without arguments and must return a notifier.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context


class FeedAlert(BaseNotifier):
    """Tells what began to be wrong with a source's feed: source, code, numbers; no value of any record."""

    def __init__(self, url: str | None = None, seconds: float = 10.0) -> None:
        """Make a notifier; without ``url`` it posts to the address in ``XINGLIN_ALERT_URL_FILE``."""
        super().__init__()
        self._url = url
        self._seconds = seconds

    def notify(self, context: Context) -> None:
        """Post the task's error as JSON, and leave it in the log."""
        error = context.get("exception")
        instance = context.get("task_instance")
        text = str(error) if error is not None else "a task failed"
        told = {"alert": text, "task": getattr(instance, "task_id", ""), "run": str(context.get("run_id", ""))}
        self.log.warning("feed alert: %s", text)
        if (url := self._url or _address()) is not None:
            self._post(url, told)

    def _post(self, url: str, told: dict[str, str]) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("XINGLIN_ALERT_URL_FILE: expected an address that begins with http:// or https://")
        body = json.dumps(told, ensure_ascii=False).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=self._seconds):  # noqa: S310
            return


def _address() -> str | None:
    name = os.environ.get("XINGLIN_ALERT_URL_FILE")
    return Path(name).read_text(encoding="utf-8").strip() if name else None


def notifiers() -> list[Callable[..., Any]]:
    """Return what is called when a feed's trouble begins: ours and the site's own."""
    named = [one for one in os.environ.get("XINGLIN_NOTIFIERS", "").split(",") if one]
    return [FeedAlert(), *(_load(one)() for one in named)]


def _load(path: str) -> Callable[[], Callable[..., Any]]:
    module, _, name = path.strip().partition(":")
    found: Callable[[], Callable[..., Any]] = getattr(import_module(module), name)
    return found
