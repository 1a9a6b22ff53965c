"""How tests name nodes to the page."""

from __future__ import annotations

#: A port below 1024 that nothing on a test machine serves.
DEAD = "http://127.0.0.1:9"


def configured(nodes: dict[str, str]) -> dict[str, str]:
    """The environment that names these nodes."""
    return {"XINGLIN_NODE_URLS": ",".join(f"{name}={url}" for name, url in nodes.items())}
