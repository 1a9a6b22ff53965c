"""Which patients are in which dataset; kept in the vault of the institution that delivered it (``vault.shares``)."""

from __future__ import annotations

from vault.shares import Narrowed, Shares

__all__ = ["Narrowed", "Shares"]
