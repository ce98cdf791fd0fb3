"""How a run is asked to stop: a person presses Ctrl-C, a scheduler sends SIGTERM or SIGUSR1."""

import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from atrous.errors import AtrousError

PRE_EMPTING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
"""What schedulers (Slurm, Kubernetes, ...) send some time before they kill, and SIGHUP, which a lost connection or a
closed terminal sends. Windows has SIGTERM alone."""

STOPPING = [signal.SIGINT, *PRE_EMPTING]


class Interrupted(AtrousError):
    """A training was asked to stop, and everything is saved. code: the process's exit code."""

    def __init__(self, message: str, code: int = 130) -> None:
        super().__init__(message)
        self.code = code


class Stop:
    """Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP ask for a stop at the next step or picture. A second Ctrl-C stops at once.

    Only the main thread gets signals; in another one this does nothing.

    Args:
        echoed: torchrun passes a Ctrl-C on to processes that had it from the terminal already, so that
            the second one they get is an echo of the first.
    """

    def __init__(self, echoed: bool = False) -> None:
        self.asked = 0
        """The number of the signal that came first, 0 before."""
        self._echoes = int(echoed)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]  # nohup
            self._before = {number: signal.signal(number, self._ask) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hear(self, asked: Iterable[int]) -> int:
        """Take over what the run's processes were asked, a signal's number or 0 each. Returns the largest."""
        if heard := max(asked):  # 0 is not put back: a signal may have come meanwhile
            self.asked = heard
        return heard

    def interrupted(self, message: str) -> Interrupted:
        """The error to raise. Its exit code is 130 for Ctrl-C, and 0 for a scheduler: a saved run has not failed."""
        return Interrupted(message, 130 if self.asked == signal.SIGINT else 0)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            if not self._echoes:
                raise KeyboardInterrupt
            self._echoes -= 1
        self.asked = self.asked or number
