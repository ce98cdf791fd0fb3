"""The command line: one function per verb, everything heavy imported inside.

Exit codes: 0 done, or a training that SIGTERM or SIGUSR1 stopped, everything saved; 1 finished, but some inputs failed
and are named; 2 the input cannot be used; 130 stopped by Ctrl-C, everything saved; 70 a defect of atrous.
"""

import errno
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from atrous import __version__
from atrous.cli import data, evaluation, networks, prediction, training
from atrous.errors import AtrousError, Elsewhere, is_out_of_memory, no_memory
from atrous.progress import say
from atrous.train.signals import Interrupted

app = typer.Typer(
    name="atrous",
    help="Semantic segmentation: train on a folder of images and masks, evaluate honestly, predict fast.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS: dict[str, Callable[..., None]] = {
    "demo": training.demo,
    "check": data.check,
    "plan": data.plan,
    "train": training.train,
    "eval": evaluation.evaluate,
    "compare": evaluation.compare,
    "calibrate": evaluation.calibrate,
    "tune-crf": evaluation.tune,
    "report": evaluation.report,
    "predict": prediction.predict,
    "export": networks.export,
    "refine": prediction.refine,
    "import": networks.import_,
    "bench": networks.bench,
    "inspect": networks.inspect,
    "models": networks.models,
}
"""In the order of `atrous --help`."""

for name, verb in VERBS.items():
    app.command(name)(verb)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"atrous {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Semantic segmentation: train on a folder of images and masks, evaluate honestly, predict fast."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A failure is one sentence on stderr; --debug shows the traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in sys.stdout, sys.stderr:  # a file's name need not be text, and a console may lack a letter
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(arguments)
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, `explain` says it
        if debug:
            raise
        sys.exit(explain(error))


FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a full disk, or of a quota that is used up."""


def explain(error: BaseException) -> int:
    """Print an error as one sentence and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        say("stopped", sys.stderr)
        return 130
    if isinstance(error, Elsewhere):  # the process that failed first has said why
        return error.cause.code if isinstance(error.cause, Interrupted) else 2
    if isinstance(error, Interrupted):
        say(str(error), sys.stderr)
        return error.code
    if isinstance(error, AtrousError):
        say(f"error: {error}", sys.stderr)
        return 2
    if is_out_of_memory(error):
        say(f"error: {no_memory(error)}", sys.stderr)
        return 2
    if isinstance(error, OSError) and error.strerror:
        room = "; make room and give the same command again" if error.errno in FULL else ""
        say(f"error: {error.filename or 'the output'}: {error.strerror}{room}", sys.stderr)
        return 2
    say(f"internal error: {type(error).__name__}: {error}; --debug shows where", sys.stderr)
    return 70
