"""A vault with its keystore."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.database import Database
from vault_world import CHAIN

from vault.keystore import FileKeystore
from vault.store import Vault


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> FileKeystore:
    return FileKeystore.create(tmp_path_factory.mktemp("keys"), b"a password")


@pytest.fixture
def vault(database: Database[dict[str, Any]], keystore: FileKeystore) -> Vault:
    return Vault(database, keystore, "hospital-east", CHAIN)
