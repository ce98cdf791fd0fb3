"""Whether the default suite notices a wrong constant: forty small faults, each alone in a copy of the package.

    python scripts/mutants.py             all of them, one line each, and the count; exit code 1 where one survives
    python scripts/mutants.py ohem fcn    those whose file or text holds one of the words

A fault is a line of `MUTANTS`: the file, the text that stands there once, what takes its place, and the tests that
should fail. Where the text is gone the line says `lost`: bring it up to date. Only tests of the default suite count.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS, OUTPUTS = "tests/models/test_constants.py", "tests/models/test_outputs.py"
UPDATES, LOSSES = "tests/train/test_updates.py", "tests/losses"

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    ["cv2", "lightning_fabric", "numba", "pydantic", "pytest", "timm", "torch", "torchvision"]
)


class Mutant(NamedTuple):
    """file: under atrous/. tests: arguments of pytest."""

    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    # what is dropped
    Mutant("models/pspnet.py", "dropout: Share = 0.1", "dropout: Share = 0.5", f"{CONSTANTS} -k pspnet"),
    Mutant("models/fpn.py", "nn.Dropout2d(dropout)", "nn.Dropout(dropout)", f"{CONSTANTS} -k fpn"),
    Mutant("models/deeplab.py", "dropout: Share = 0.5", "dropout: Share = 0.1", f"{CONSTANTS} -k deeplabv3"),
    Mutant("models/deeplab.py", "dropout: Share = 0.1", "dropout: Share = 0.5", f"{CONSTANTS} -k deeplabv3plus"),
    Mutant("models/enet.py", "early_dropout: Share = 0.01", "early_dropout: Share = 0.1", f"{CONSTANTS} -k enet"),
    Mutant("layers/conv.py", "dropout: float = 0.1", "dropout: float = 0.5", f"{CONSTANTS} -k tenth"),
    Mutant("models/unet.py", "if level >= 3:", "if level >= 4:", f"{CONSTANTS} -k unet2015"),
    Mutant("layers/vgg.py", "dropout: float = 0.5", "dropout: float = 0.0", f"{CONSTANTS} -k fcn8s"),
    # how layers start
    Mutant("layers/vgg_dilated.py", "std=0.01", "std=0.1", f"{CONSTANTS} -k deeplabv1"),
    Mutant("models/fcn.py", "nn.init.zeros_(score.weight)", "nn.init.normal_(score.weight, std=0.01)",
           f"{CONSTANTS} -k fcn8s"),
    Mutant("models/deconvnet.py", "std=0.01", "std=0.02", f"{CONSTANTS} -k deconvnet"),
    Mutant("models/unet.py", "(9 if layer.kernel_size == (3, 3) else 1)", "9", f"{CONSTANTS} -k unet2015"),
    Mutant("models/nnunet.py", "nn.init.zeros_(layer.second[1].weight)", "nn.init.ones_(layer.second[1].weight)",
           f"{CONSTANTS} -k norms"),
    Mutant("models/pointrend.py", "std=0.001", "std=0.01", f"{CONSTANTS} -k pointrend"),
    Mutant("models/bisenetv2.py", "nn.init.kaiming_normal_", "nn.init.kaiming_uniform_", f"{CONSTANTS} -k bisenetv2"),
    Mutant("models/ccnet.py", "torch.zeros(1)", "torch.ones(1)", f"{CONSTANTS} -k attention"),
    Mutant("layers/switches.py", "norm.bias, 0.001", "norm.bias, 0.0", f"{CONSTANTS} -k norms"),
    Mutant("encoders/mit.py", "trunc_normal_(layer.weight, std=0.02)", "trunc_normal_(layer.weight, std=0.2)",
           f"{CONSTANTS} -k segformer"),
    # main and auxiliary logits, and their order
    Mutant("models/page.py", "(*logits, self.aux(features))", "(self.aux(features), *logits)", OUTPUTS),
    Mutant("models/hrnet.py", "return self.score(x), coarse", "return coarse, self.score(x)", f"{OUTPUTS} -k hrnet"),
    Mutant("models/icnet.py", "zip(self.aux, guided, strict=True)]", "zip(self.aux, guided, strict=True)][::-1]",
           f"{OUTPUTS} -k icnet"),
    Mutant("models/foreign/mmseg.py", "(self._decode(features), *aux)", "(*aux, self._decode(features))",
           f"{OUTPUTS} -k mmseg"),
    Mutant("models/bisenetv2.py", "return self._decode(image, levels), *own",
           "return self._decode(image, levels), *[*own][::-1]",
           f"{OUTPUTS} -k bisenetv2"),
    Mutant("models/danet.py", "return self.score(branches[0] + branches[1]), *own",
           "return self.score(branches[0] + branches[1]), *list(own)[::-1]", f"{OUTPUTS} -k danet"),
    Mutant("models/unetpp.py", "sorted(map(int, self.heads), reverse=True)", "sorted(map(int, self.heads))",
           f"{OUTPUTS} -k unetpp"),
    # losses
    Mutant("losses/ohem.py", "threshold: float = 0.7", "threshold: float = 0.5", f"{LOSSES}/test_ohem.py"),
    Mutant("losses/focal.py", "gamma: float = 2.0", "gamma: float = 1.0", f"{LOSSES}/test_focal.py"),
    Mutant("losses/tversky.py", "alpha: float = 0.3", "alpha: float = 0.7", f"{LOSSES}/test_tversky.py"),
    Mutant("losses/cross_entropy.py", "over(loss, label_weights(logits, labels, self.ignore, self.weight).sum())",
           "over(loss, label_weights(logits, labels, self.ignore).sum())", f"{UPDATES} -k class_weights"),
    Mutant("losses/truth.py", "torch.where(counted, logits, 0.0)", "logits",
           f"{LOSSES}/test_every_loss.py -k ignore_changes_nothing"),
    # the objective, the optimiser, the recipe
    Mutant("train/objective.py", "aux_weight: float | Sequence[float] = 0.4", "aux_weight: float | Sequence[float] = 1",
           f"{CONSTANTS} -k auxiliary"),
    Mutant("train/objective.py", "(weight * loss for weight", "(loss for weight", "tests/train/test_objective.py"),
    Mutant("train/optimizer.py", "parameter.ndim > 1", "parameter.ndim > 0", f"{UPDATES} -k decay"),
    Mutant("train/optimizer.py", "recipe.encoder_lr * recipe.layer_decay", "recipe.layer_decay",
           f"{UPDATES} -k own_rate"),
    Mutant("train/optimizer.py", "momentum=0.9", "momentum=0.99", f"{CONSTANTS} -k momentum"),
    Mutant("train/optimizer.py", "(1 - share) ** recipe.power", "(1 - share)", f"{CONSTANTS} -k poly"),
    Mutant("train/optimizer.py", "counted = labels != ignore", "counted = labels == labels",
           "tests/train/test_optimizer.py -k shares"),
    Mutant("train/recipe.py", "clip: NotNegative = Field(\n        1.0", "clip: NotNegative = Field(\n        10.0",
           f"{CONSTANTS} -k gradient"),
    Mutant("train/step.py", "max_norm=clip", "max_norm=2 * clip", f"{UPDATES} -k clip"),
    Mutant("train/run.py", "min(decay, (1 + n) / (10 + n))", "min(decay, (1 + n) / (2 + n))", f"{UPDATES} -k average"),
]  # fmt: skip


def run(copy: Path, tests: Sequence[str]) -> int:
    """pytest's exit code with the package of a copy, in a process of its own that has the heavy packages already."""
    command = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-x", "--no-header",
               "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
    command += [str(ROOT / word) if word.startswith("tests/") else word for word in tests]
    process = SERVER.Process(target=_test, args=(copy, command))
    process.start()
    process.join()
    if process.exitcode not in (0, 1):
        print((copy / "said.txt").read_text()[-2000:])
    return process.exitcode or 0


def _test(copy: Path, command: list[str]) -> None:
    """The copy comes first on the path, of the tests' children too."""
    import pytest

    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with open("said.txt", "w") as file, redirect_stdout(file), redirect_stderr(file):
        code = pytest.main(command)
    import atrous

    sys.exit(int(code) if Path(atrous.__file__).is_relative_to(copy.resolve()) else 99)


def fate(mutant: Mutant, copy: Path) -> str:
    """killed, survived, lost (the text does not stand there once) or unfit (the tests do not run at all)."""
    path = copy / "atrous" / mutant.file
    text, stat = path.read_text(), path.stat()
    if text.count(mutant.old) != 1:
        return "lost"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return {0: "survived", 1: "killed"}.get(run(copy, mutant.tests.split()), "unfit")
    finally:
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # its compiled form is as new as it


def main(words: list[str]) -> int:
    """Plant the mutants that hold one of the words, all where there is none; 0 when all were killed."""
    taken = [m for m in MUTANTS if not words or any(word in " ".join(m) for word in words)]
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "atrous", copy / "atrous")
        if run(copy, sorted({mutant.tests.split()[0] for mutant in taken})) != 0:
            print("the tests fail without a mutant: mend them first")
            return 2
        for mutant in taken:
            found = fate(mutant, copy)
            counts[found] = counts.get(found, 0) + 1
            print(f"{found:9} {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(", ".join(f"{count} {found}" for found, count in sorted(counts.items())), f"of {len(taken)}")
    return int(counts.get("killed", 0) < len(taken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
