"""How a replica catches up with others, begins from a certified state, and is held against them (section 13)."""
