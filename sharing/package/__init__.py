"""A dataset as it travels: one file that only its recipient opens and that anybody can check."""

from __future__ import annotations

from sharing.package.manifest import Manifest, ManifestFacts, Section, Table
from sharing.package.opening import Opened, open_package
from sharing.package.verifying import Verified, verify
from sharing.package.writing import Finished, Writer

__all__ = [
    "Finished",
    "Manifest",
    "ManifestFacts",
    "Opened",
    "Section",
    "Table",
    "Verified",
    "Writer",
    "open_package",
    "verify",
]
