"""The command line in this process: what to type for a run of four steps, and its exit code."""

import pytest
from runs import COMMAND

from atrous.cli import main

SMALL = [*COMMAND, "--steps", "4"]


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0
