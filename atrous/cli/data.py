"""The verbs that look at data: check, plan."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.options import Classes, Ignore, Json, Overwrite, ValidArea
from atrous.cli.values import console_of, named_values, seconds
from atrous.errors import AtrousError
from atrous.progress import command, say


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and their labels, in any layout.")],
    write: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a mended copy: plain pairs, masks as class indices.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="pairs", help="Convert to images/ and masks/ in -o OUT.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A new folder, for --to pairs.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML page with pictures, such as data-report.html.")
    ] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Check every image and mask of a data set: what is wrong, and what to do about it. DATA is never changed.

    Exit code 1 if there is an error, or if --write left a pair out.
    """
    from atrous.doctor import describe_examination, examine_dataset, mend, write_page
    from atrous.io.claims import refuse_foreign
    from atrous.io.paths import page_path
    from atrous.progress import Bar

    if to not in (None, "pairs") or (to is None) != (out is None):
        raise AtrousError("to convert a data set give both: --to pairs -o OUT, where OUT is a new folder")
    if to and valid_area:
        raise AtrousError(
            "--to copies masks as they are; to leave out what lies outside of --valid-area give --write OUT"
        )
    if html is not None:
        page_path(html)
        if not overwrite:
            refuse_foreign(html)
    console = console_of(stderr=True)
    with Bar(console, "check", 0) as bar:
        found = examine_dataset(data, classes=classes, ignore=ignore or (), valid_area=valid_area, progress=bar.at)
    failed, document = bool(found.errors), found.summary()
    if not as_json:
        for line in describe_examination(found):
            say(line)
    if html is not None:
        write_page(html, found)
        document["page"] = str(html)
    if write is not None:
        with Bar(console, "write", 0) as bar:
            mended = mend(found, write, bar.at)
        failed = bool(mended.left_out)
        left = [{"file": str(file), "why": why} for file, why in mended.left_out]
        document["written"] = {"out": str(write), "pairs": mended.pairs, "mended": mended.mended, "left_out": left}
        if not as_json:
            say(f"wrote {write}: {mended.pairs} pairs, {mended.mended} of them mended, {len(left)} files left out")
            for file, why in mended.left_out:
                say(f"left out: {file}: {why}")
    if out is not None:
        from atrous.datasets.convert import write_pairs

        with Bar(console, "convert", 0) as bar:
            write_pairs(found.folder, out, bar.at, labels=found.labels if classes else None)
        document["converted"] = str(out)
        if not as_json:
            say(f"wrote {out}: {len(found.looks)} pairs from the layout {found.folder.layout}")
    if as_json:
        print(json.dumps(document, indent=1))
    if failed:
        raise typer.Exit(1)


def plan(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder of images or volumes and their labels.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write the recipe, for `atrous train --recipe`; of volumes, a .json for nnU-Net.",
        ),
    ] = None,
    time: Annotated[str | None, typer.Option(help="Time for the whole training: 30m, 2h; default 60m.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `atrous models`.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field of the recipe; repeat it.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Plan volumes for a GPU of this memory; default this machine.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time a few steps, to say how many fit the time.")
    ] = True,
    pretrained: Annotated[bool | None, typer.Option("--pretrained/--no-pretrained", help="As in train.")] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="List all fields of a recipe; with --json as a schema for editors.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Describe a data set, and plan its training: a recipe, with the reason for each line."""
    if fields:
        from atrous.plan.fields import field_lines, recipe_schema

        for line in json.dumps(recipe_schema(), indent=1).splitlines() if as_json else field_lines():
            say(line)
        return
    if data is None:
        raise AtrousError("plan: DATA is missing; give the folder of images and their labels")
    from atrous.io.claims import refuse_foreign
    from atrous.plan import plan as plan_for
    from atrous.plan.document import plan_lines
    from atrous.predict.memory import bytes_of
    from atrous.progress import Bar

    if out is not None and not overwrite:
        refuse_foreign(out)
    console = console_of(stderr=True)
    wishes = {"time": seconds(time) if time else None, "model": model, "encoder": encoder, "pretrained": pretrained}
    settings = named_values(setting or (), "set rotate=10")
    with Bar(console, "plan", 0) as bar:
        found = plan_for(
            data,
            classes=classes,
            ignore=ignore or (),
            valid_area=valid_area,
            measure=measure,
            memory=bytes_of(memory, "--memory") if memory else None,
            progress=bar.at,
            say=lambda text: say(text, console),
            **{name: value for name, value in (wishes | settings).items() if value is not None},
        )
    if as_json:
        print(json.dumps(found.summary(), indent=1))
    else:
        for line in plan_lines(found):
            say(line)
    if out is not None:
        if out.suffix == ".json":
            from atrous.plan.nnunet_plans import plans_of, write_plans
            from atrous.plan.volumes import nnunet_plan

            name = data.absolute().name
            recipe, fingerprint = nnunet_plan(data, *([bytes_of(memory, "--memory")] if memory else []))
            write_plans(out, plans_of(recipe, fingerprint, name, plans_name=out.stem))
            say(f"wrote {out}: nnU-Net looks for it in the folder {name} of its preprocessed data", sys.stderr)
            return
        found.recipe_file.save(out, mark=True)
        say(f"wrote {out}: {command('atrous', 'train', data, '--recipe', out)}", sys.stderr)
