"""Runs commands in forked processes that have torch imported already: seconds less for each.

Reads JSON lines: {"words": [...], "folder": ..., "log": ...} starts one and answers its process number,
{"wait": number} answers its exit code, minus the signal that killed it. What it prints goes to LOG.out and LOG.err.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


class Zygote:
    """The process that is forked; the test's side of it."""

    def __init__(self) -> None:
        words = [sys.executable, __file__]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, words: list[str], folder: Path, log: Path) -> int:
        """The number of a process that runs a command in a folder."""
        return self._ask({"words": words, "folder": str(folder), "log": str(log)})

    def wait(self, process: int) -> int:
        """Its exit code; -9 of a process that was killed."""
        return self._ask({"wait": process})

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _ask(self, question: dict[str, object]) -> int:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def child(words: list[str], folder: str, log: str) -> None:
    code = 70
    try:
        os.chdir(folder)
        for number, end in ((1, "out"), (2, "err")):
            file = os.open(f"{log}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        from atrous.cli import main

        main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    import atrous.demo.demo
    import atrous.report.write  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif number := os.fork():
            print(number, flush=True)
        else:
            child(asked["words"], asked["folder"], asked["log"])


if __name__ == "__main__":
    serve()
