"""How a block becomes final: proposals, votes, certificates, and what a key has signed (sections 5 to 9)."""
