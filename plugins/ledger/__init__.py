"""The consortium ledger: what institutions who distrust each other agree on, as bytes each verifies itself."""
