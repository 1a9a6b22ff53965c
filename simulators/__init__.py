"""A synthetic region on loopback for the demonstration, the tests and the benchmarks.

Everybody in it is invented. The same seed and day give the same bytes, and every simulator returns what it sent and
what must become of it, so that what arrived can be checked against it.
"""
