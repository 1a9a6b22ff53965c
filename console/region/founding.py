"""A home made ready: keys of the institutions that live here, genesis, anchor. Nothing that stands is replaced."""

from __future__ import annotations

import os
import secrets

from console.region.processes import write
from ledger.agreement.votes import VoteStore
from ledger.chain.genesis import Genesis
from ledger.contracts.policy import default_policies
from ledger.messages.key_grants import make_region_grant
from ledger.opening import KEY_FILE, VOTES_FILE
from schemas.errors import ConfigurationError
from schemas.home import Home
from schemas.region import Region, load_region
from shangmi import PublicKey
from vault.keystore import FileKeystore


def found(home: Home) -> Genesis:
    """Keys, genesis and anchor are in ``home``; the second call changes nothing.

    Every institution of ``region.yaml`` without a ``public_key`` of its own lives here and gets a keystore with a
    random password in a file beside it that only this user reads. A region of several machines gives every
    institution's public key in ``region.yaml`` and hands ``genesis.bin`` out.

    Raises:
        ConfigurationError: ``region.yaml`` is wrong, or no longer is what genesis was made from.
    """
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    region = load_region(home.region)
    keys = {one.id: _keystore(home, one.id) for one in region.institutions if not one.public_key}
    if home.genesis.exists():
        standing = Genesis.load(home.genesis.read_bytes())
        return _same(standing, Genesis.from_region(region, keys, standing.policies))
    genesis = Genesis.from_region(region, keys, default_policies())
    for id_, key in keys.items():
        # Only before there is a chain: a vote store that is missing later is lost state, and the node must say so.
        if not (home.keys(id_) / VOTES_FILE).exists():
            VoteStore.create(home.keys(id_) / VOTES_FILE, key).close()
    write(home.region_grant, make_region_grant(genesis.chain_id, genesis.validators.members))
    write(home.anchor, genesis.anchor())
    write(home.genesis, genesis.encode())  # last: it marks that all before it is there
    return genesis


def _same(standing: Genesis, described: Genesis) -> Genesis:
    if standing.chain_id != described.chain_id:
        raise ConfigurationError(
            "region.yaml or a keystore is not what this chain's genesis was made from; a chain is changed by "
            "governance, not by its file. Put the file back, or begin a new region with another XINGLIN_HOME"
        )
    return standing


def _keystore(home: Home, institution: str) -> PublicKey:
    folder = home.keys(institution)
    password = folder / "password"
    if not password.exists() and "XINGLIN_KEY_PASSWORD" not in os.environ:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(password, secrets.token_urlsafe(24).encode(), mode=0o600)
    secret = home.password(institution)
    if not (folder / KEY_FILE).exists():
        FileKeystore.create(folder, secret)
    return FileKeystore.open(folder, secret).public_key


def institutions_here(home: Home, region: Region) -> tuple[str, ...]:
    """Return the institutions whose keystore is on this machine, in order of id."""
    return tuple(one.id for one in region.institutions if (home.keys(one.id) / KEY_FILE).exists())
