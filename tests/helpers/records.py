"""Full results of the tests that run for long, which the documentation quotes."""

import json
import os
from pathlib import Path
from typing import Any


def keep(key: str, found: Any) -> None:
    """Write into the file of the last full results, if ATROUS_TORTURE names one."""
    if target := os.environ.get("ATROUS_TORTURE"):
        path = Path(target)
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {key: found}, indent=1) + "\n")
