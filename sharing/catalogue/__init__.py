"""What may be asked for, without patient data: told in tens, signed, published (docs/disclosure-risk.md)."""

from __future__ import annotations

from sharing.catalogue.describing import describe, refresh
from sharing.catalogue.publishing import Published, publish, published, read_published

__all__ = ["Published", "describe", "publish", "published", "read_published", "refresh"]
