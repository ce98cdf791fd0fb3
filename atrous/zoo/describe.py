"""What a network is, in words: its options with what each may be, its papers, its size, and what we measured."""

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from atrous.errors import ModelError, nearest
from atrous.models import MODELS, describe_models, list_models
from atrous.models.options import Zoom, kinds_of, words
from atrous.zoo.cards import describe_weights


@dataclass(frozen=True)
class Option:
    """One option of a network. allowed: what it may be, in words."""

    name: str
    default: Any
    allowed: str


@dataclass(frozen=True)
class ModelDescription:
    """A network of `atrous.list_models()`, as `print` shows it.

    Attributes:
        name: for `create_model`.
        summary: what it is, in a sentence.
        about: the rest of its builder's documentation: what the options mean.
        page: its source file.
        papers: year and arXiv number of each paper that the page names.
        parameters: how many, with 21 classes, 3 channels and the default options.
        options: in the order of the signature.
        weights: names of published weights, with their scores and licences.
    """

    name: str
    summary: str
    about: str
    page: str
    papers: tuple[str, ...]
    parameters: int
    options: tuple[Option, ...]
    weights: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(option.name) for option in self.options) + 2
        lines = [f"{self.name}: {self.summary}", *([""] if self.about else []), *self.about.splitlines()]
        lines += ["", f"parameters  {self.parameters:,} with 21 classes", f"page        {self.page}"]
        lines += [f"papers      {'; '.join(self.papers)}"] if self.papers else []
        lines += ["", "options, for create_model and --option NAME=VALUE:"]
        lines += [f"  {one.name:<{width}}{one.default!r:<16} {one.allowed}" for one in self.options]
        lines += ["", "weights by name, for `atrous predict --model NAME`:", *(f"  {line}" for line in self.weights)]
        return "\n".join(lines if self.weights else lines[:-2])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        options = [{"name": one.name, "default": one.default, "allowed": one.allowed} for one in self.options]
        return {**self.__dict__, "options": options, "papers": list(self.papers), "weights": list(self.weights)}


def describe_model(name: str) -> ModelDescription:
    """Describe a network: its options and what each may be, papers, parameters, published weights.

    Args:
        name: one of `atrous.list_models()`.

    Raises:
        ModelError: there is no such network.

    Example:
        >>> description = describe_model("unet")
        >>> description.parameters, description.options[0].name
        (24435317, 'encoder')
    """
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}; {nearest(name, list_models())}")
    builder, kinds = MODELS[name], kinds_of(MODELS[name])
    options = [
        Option(parameter.name, parameter.default, words(kinds[parameter.name]))
        for parameter in inspect.signature(builder).parameters.values()
        if parameter.name not in ("classes", "in_channels", "pretrained")
    ]
    row = next(row for row in describe_models() if row["name"] == name)
    summary, _, about = inspect.cleandoc(builder.__doc__ or "").partition("\n")
    return ModelDescription(
        name,
        summary.rstrip(". ") + ".",
        about.strip(),
        row["page"],
        _papers(builder.__module__),
        row["parameters"],
        (*options, Option("zoom", 1.0, words(Zoom))),
        tuple(describe_weights(name)),
    )


def _papers(module: str) -> tuple[str, ...]:
    """'v3+ 2018 arXiv 1802.02611', ... from the table at the head of a page."""
    row = r"^ {4}(\S+(?: \S+)*) {2,}((?:19|20)\d\d) {2,}(\S+(?: \S+)*)"
    found = re.findall(row, import_module(module).__doc__ or "", re.MULTILINE)
    return tuple(
        f"{what} {year} {f'arXiv {source}' if source[0].isdigit() else source}" for what, year, source in found
    )
