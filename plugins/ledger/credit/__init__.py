"""What institutions did, counted: credit, evidence against double signing, who votes next (sections 10 and 11)."""
