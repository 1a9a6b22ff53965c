"""An institution's node as a process of its own, and how its workers ask it over a unix socket (sections 0 and 8)."""
