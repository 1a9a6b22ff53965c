"""What wearables measure, as FHIR: measures and units, times, people and devices, single values and series.

Shared by `normalise.omh`, `normalise.apple_health`, `normalise.fit` and `normalise.wearable_api`; the tables are CSV in
``schemas/wearables``.
"""
