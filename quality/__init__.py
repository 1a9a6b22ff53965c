"""Stage 3, check: great-expectations suites over whole batches, and the FHIR structure of every resource.

`Gate` judges a batch; `quality.structure.check_structure` judges one resource.
"""

from quality.errors import SuiteError
from quality.gate import Gate, GateReport, RuleResult

__all__ = ["Gate", "GateReport", "RuleResult", "SuiteError"]
