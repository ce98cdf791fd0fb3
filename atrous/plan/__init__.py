"""From a data set and a few wishes to a complete recipe, each line of it with its reason.

`draft` is what training asks; `plan` is the same with the reasons and what they rest on, and for volumes the plan that
nnU-Net would make. Facts of pictures: facts.py; what follows from them: rules.py, memory.py; of volumes: cases.py,
medical.py.
"""

from atrous.plan.document import Plan, plan
from atrous.plan.rules import (
    DEFAULT_ENCODER,
    DEFAULT_MODEL,
    MAX_CROP,
    again,
    class_weights,
    draft,
    fingerprint,
)

__all__ = [
    "DEFAULT_ENCODER",
    "DEFAULT_MODEL",
    "MAX_CROP",
    "Plan",
    "again",
    "class_weights",
    "draft",
    "fingerprint",
    "plan",
]
