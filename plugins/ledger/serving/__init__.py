"""A node's read-only HTTP interface: what a replica holds, for other nodes, verifiers and people (section 13)."""
