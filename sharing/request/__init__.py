"""The request for a dataset: the file that people read and sign, and where it lies."""

from __future__ import annotations

from sharing.request import desk
from sharing.request.reading import read_request, request_digest, write_request

__all__ = ["desk", "read_request", "request_digest", "write_request"]
