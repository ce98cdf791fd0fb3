"""`atrous report`: one or several runs, bundles or folders of label maps on one page."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from atrous.errors import AtrousError
from atrous.evaluate.compare import compare_results
from atrous.evaluate.data import trained_on
from atrous.evaluate.sources import Judged, judge_all
from atrous.io.claims import refuse_foreign
from atrous.io.paths import page_path
from atrous.predict.loading import RECIPE
from atrous.progress import Over
from atrous.report import EvaluatedRun, make_report, train_command, verdict, write_report


def report_all(
    sources: Sequence[Path],
    data: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    cluster: str | None = None,
    block: int = 1,
    overwrite: bool = False,
    progress: Over | None = None,
    say: Callable[[list[str]], object] | None = None,
) -> Path:
    """Evaluate every source in full on the same images, and write one page about them.

    Args:
        sources: Run folders, bundles, or folders of label maps.
        data: The data set; by default what the first source was trained on.
        split: The split; by default `test` where there is one, else `val`, else everything.
        out: The page; by default `report.html` in the folder of a single source, `NAME-report.html`
            beside a single bundle, `comparison.html` here for several.
        classes, ignore, valid_area, cluster, block: As in `atrous.evaluate.sources`.
        overwrite: Replace a page that is there and is not from this program.
        progress: Wraps what is gone through, to show a bar: (items, how many) -> items.
        say: Told what is to be said of the judged pictures; the page holds it too.

    Returns:
        The path of the page.

    Raises:
        AtrousError: There is no source, `out` is not a name for a page, a source cannot be opened,
            or the sources were not evaluated on the same images and classes.
    """
    if not sources:
        raise AtrousError("nothing to report on: give a run folder, a bundle or a folder of label maps")
    target = page_path(out or _default(sources))
    of_run = out is None and len(sources) == 1 and (sources[0] / RECIPE).exists()
    if not (overwrite or of_run):  # before minutes are spent on the evaluation
        refuse_foreign(target)
    data = data or trained_on(sources[0])
    options = {"classes": classes, "ignore": ignore, "valid_area": valid_area, "cluster": cluster, "block": block}
    judged = judge_all(sources, data, split, full=True, progress=progress, **options)
    results = [one.result for one in judged]
    remarks = list(dict.fromkeys(one.remark for one in results if one.remark))
    if say:
        say(remarks)
    names = short_names(sources)
    verdicts = []
    if len(judged) > 1 and len(results[0].names) > 1:
        found = compare_results(names, [[result] for result in results], block=block)
        verdicts = [f"{verdict(pair, found['unit'])}." for pair in found["pairs"]]
    first = judged[0]
    again = ["atrous", "report", *map(str, sources), "--data", str(data), "--split", first.result.split]
    again += ["--classes", str(classes)] * (classes is not None) + [f"--ignore={value}" for value in ignore]
    again += ["--valid-area", str(valid_area)] * (valid_area is not None)
    again += ["--cluster", str(cluster)] * (cluster is not None) + [f"--block={block}"] * (block > 1)
    report = make_report(
        [
            EvaluatedRun(name, one.result, one.predict, one.source, one.card)
            for name, one in zip(names, judged, strict=True)
        ],
        first.data.splits[first.result.split],
        splits=first.data.splits,
        notes=[*first.data.notes, *(remark for remark in remarks if remark not in first.data.notes)],
        verdicts=verdicts,
        title=_title(judged, data),
        commands=[shlex.join([*again, "-o", str(target)]), *_training(judged)],
        progress=progress,
    )
    write_report(target, report)
    return target


def _default(sources: Sequence[Path]) -> Path:
    if len(sources) > 1:
        return Path("comparison.html")
    only = sources[0]
    return only.with_name(f"{only.stem}-report.html") if only.suffix == ".safetensors" else only / "report.html"


def short_names(sources: Sequence[Path]) -> list[str]:
    """A name for each: as many last parts of its path as tell all apart; equal ones are numbered."""
    paths = [source.resolve() for source in sources]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return [name if (n := names[: k + 1].count(name)) == 1 else f"{name} ({n})" for k, name in enumerate(names)]


def _title(judged: Sequence[Judged], data: Path) -> str:
    on = f"on {data.resolve().name}"
    if len(judged) > 1:
        return f"{len(judged)} runs {on}"
    card, source = judged[0].card, judged[0].source
    return f"{card.model} {on}" if card else f"label maps of {source.resolve().name} {on}"


def _training(judged: Sequence[Judged]) -> list[str]:
    """The commands that trained them, each once, where that is known."""
    folders = [(one.card, one.source if one.source.is_dir() else one.source.parent) for one in judged]
    return list(dict.fromkeys(train_command(card, folder) for card, folder in folders if card and card.recipe))
