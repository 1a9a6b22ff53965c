"""What a test needs of the machine: where it is missing the test is skipped, in CI the test runs and fails."""

from __future__ import annotations

import os
from typing import Final

import pytest

#: CI installs everything that a test needs (.ci/run): what is missing there is a mistake.
IN_CI: Final = os.environ.get("CI") == "true"


def needs(there: object, reason: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test for this reason unless what it needs is there, or this is CI."""
    return pytest.mark.skipif(not there and not IN_CI, reason=reason)
