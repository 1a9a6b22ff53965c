"""One record at the point of care: asked for by its place on the chain, answered, opened, reviewed."""
