"""What crosses a stage boundary: frozen dataclasses, JSON Schemas, mapping tables, expectation suites."""
