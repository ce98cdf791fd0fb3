"""From a data set and a few wishes to a complete recipe, each line of it with its reason.

`draft` makes the recipe that training takes. `plan` makes the same recipe with its reasons and the
facts behind them; for volumes it makes the plan of nnU-Net. For images, facts.py collects the
facts, rules.py and memory.py decide; for volumes these are cases.py and medical.py. fields.py lists
what a recipe may hold.
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
from atrous.plan.wishes import check_wishes

__all__ = [
    "DEFAULT_ENCODER",
    "DEFAULT_MODEL",
    "MAX_CROP",
    "Plan",
    "again",
    "check_wishes",
    "class_weights",
    "draft",
    "fingerprint",
    "plan",
]
