"""How a run is asked to stop: Ctrl-C by a person, SIGTERM or SIGUSR1 by a scheduler that takes the machine away."""

import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from atrous.errors import AtrousError

PRE_EMPTING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""What schedulers send (Slurm, Kubernetes, ...) some time before they kill; Windows has no SIGUSR1."""

STOPPING = [signal.SIGINT, *PRE_EMPTING]


class Interrupted(AtrousError):
    """Training was asked to stop; everything is saved. code: what the process exits with."""

    def __init__(self, message: str, code: int = 130) -> None:
        super().__init__(message)
        self.code = code


class Stop:
    """Ctrl-C, SIGTERM and SIGUSR1 ask for a stop at the next step or picture; a second Ctrl-C stops at once.

    In another thread than the main one there are no signals, and nothing is asked. echoed: torchrun passes a Ctrl-C on
    to processes that have had it from the terminal already; the second is then the first's echo.
    """

    def __init__(self, echoed: bool = False) -> None:
        self.asked = 0
        """The number of the signal that came first, 0 before."""
        self._echoes = int(echoed)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hear(self, asked: Iterable[int]) -> int:
        """Take over what the processes of the run were asked, each a signal's number or 0; all hear the same."""
        if heard := max(asked):  # 0 is not put back: a signal may have come meanwhile
            self.asked = heard
        return heard

    def interrupted(self, message: str) -> Interrupted:
        """What to raise: exit code 130 for Ctrl-C, 0 for a scheduler, to which a saved run is no failure."""
        return Interrupted(message, 130 if self.asked == signal.SIGINT else 0)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            if not self._echoes:
                raise KeyboardInterrupt
            self._echoes -= 1
        self.asked = self.asked or number
