"""The command line in this process: what to type for a run of four steps, and its exit code."""

import pytest

from atrous.cli import main

SMALL = "--model unet --encoder test_resnet --no-pretrained --batch 2 --crop 32 --steps 4".split()  # noqa: SIM905


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0
