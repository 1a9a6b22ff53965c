"""Errors of the vault, named by what happens next.

- VaultError
    - Stop: no retry helps; a person must look.
        - KeystoreRefused: the keystore is missing, half-made, or not opened by this password.
        - WrongVault: the database was sealed with another keystore, institution or chain.
        - Tampered: stored bytes are not the ones that were sealed.
        - Unreconciled: the counts of a batch do not agree; cursor and publication stay where they are.
        - BatchClosed: the batch takes no more results.
    - Unknown: nothing stands under that id; the caller asked for the wrong thing.
    - Erased: what stood there was erased and cannot come back.
    - Contended: retry; others kept changing the same records.
"""

from __future__ import annotations


class VaultError(Exception):
    """The vault cannot do what was asked."""


class Stop(VaultError):
    """No retry helps; a person must look."""


class KeystoreRefused(Stop):
    """The keystore cannot be opened or made."""


class WrongVault(Stop):
    """The database belongs to another keystore, institution or chain."""


class Tampered(Stop):
    """Stored bytes are not the ones that were sealed."""


class Unreconciled(Stop):
    """Not every record of a batch is accounted for."""


class BatchClosed(Stop):
    """The batch is reconciled or stopped."""


class Unknown(VaultError):
    """Nothing stands under that id."""


class Erased(VaultError):
    """The key was destroyed; nobody can read it again."""


class Contended(VaultError):
    """Others kept changing the same records; try again."""
