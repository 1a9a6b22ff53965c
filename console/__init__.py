"""The ``xinglin`` command."""
