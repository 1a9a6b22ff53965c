"""A vault and a chain in memory or in replicas, for what patients permit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

TESTS = Path(__file__).parent.parent
for folder in ("ledger", "vault"):
    if str(TESTS / folder) not in sys.path:
        sys.path.insert(0, str(TESTS / folder))

from consent_world import ConsentWorld  # noqa: E402
from vault_world import CHAIN  # noqa: E402

from vault.keystore import FileKeystore  # noqa: E402
from vault.store import Vault  # noqa: E402


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> FileKeystore:
    return FileKeystore.create(tmp_path_factory.mktemp("keys"), b"a password")


@pytest.fixture
def vault(database: Database[dict[str, Any]], keystore: FileKeystore) -> Vault:
    return Vault(database, keystore, "hospital-east", CHAIN)


@pytest.fixture
def world(mongo: MongoClient[dict[str, Any]], tmp_path: Path, keystore: FileKeystore) -> Iterator[ConsentWorld]:
    found = ConsentWorld(mongo, tmp_path, keystore, expiry_blocks=3)
    yield found
    found.close()
