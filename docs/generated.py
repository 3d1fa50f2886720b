"""The parts of the documents that are written from the code when the site is built, so that they cannot grow old.

A page holds a line ``<!-- generated: NAME -->``, and the site shows in its place what the function of ``PARTS`` with
that name returns, as Markdown.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from dogeared.cli import app
from dogeared.pipeline.config import Experiment, load_experiment, preset_names

__all__ = ["PARTS", "commands", "filled", "functions", "settings"]

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", flags=re.MULTILINE)
_METHOD = Path(__file__).with_name("method.md")
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_GROUPS = ("The method, in the order of a round", "Data", "Beside the method", "A finished run")
_COMMANDS = (
    (
        "run",
        "demo",
        "prepare",
        "index-words",
        "retrieve",
        "train-reader",
        "score",
        "train-retriever",
        "encode",
        "evaluate",
    ),
    ("chunk", "validate", "convert", "cloze", "import-checkpoint", "export-fid"),
    (),  # whatever stands in no other group
    ("ask", "search", "serve", "report", "doctor", "compare", "export", "check-export"),
)


def filled(page: str) -> str:
    """Return a page with what is generated in the place of its marks.

    Raises:
        KeyError: A mark names no part.
    """
    return _MARK.sub(lambda mark: PARTS[mark[1]](), page)


def settings() -> str:
    """List every setting with its type, its default, what presets make of it, and what it does."""
    presets = {name: load_experiment(preset=name) for name in preset_names()}
    sections: dict[str, list[str]] = {}
    for key, field in _fields(Experiment):
        owner, _, _ = key.rpartition(".")
        told = [f"{_type(field)}, default {_value(field.get_default(call_default_factory=True))}"]
        told += [
            f"{name} {_value(value)}"
            for name, experiment in presets.items()
            if (value := _look_up(experiment, key)) != field.get_default(call_default_factory=True)
        ]
        what = " ".join((field.description or "").split())
        sections.setdefault(owner, []).append(f"`{key}`\n: {'; '.join(told)}.\n  {what}\n")
    lines = []
    for owner, entries in sections.items():
        about = "The whole run" if not owner else f"`{owner}`"
        described = "" if not owner else " ".join(_first_paragraph(_model(owner)).split()) + "\n"
        lines += [f"## {about}\n", described, *entries]
    return "\n".join(lines)


def commands() -> str:
    """List every command with its arguments and options."""
    group: Any = get_command(app)
    lines = ["## Options before any command\n", *map(_parameter, _shown(group)), ""]
    placed = {name for names in _COMMANDS for name in names}
    for title, names in zip(_GROUPS, _COMMANDS, strict=True):
        lines.append(f"## {title}\n")
        for name in names or sorted(group.commands.keys() - placed):
            command = group.commands[name]
            asked = [parameter for parameter in _shown(command) if parameter.required]
            usage = " ".join(["dogeared", name, *map(_usage, asked)])
            lines += [f"### `{name}`\n", f"{command.help}\n", f"```text\n{usage}\n```\n"]
            lines += [*map(_parameter, _shown(command)), ""]
    return "\n".join(lines)


def functions() -> str:
    """Document each function and class that the table of the method names."""
    names = dict.fromkeys(re.findall(r"`(dogeared\.[\w.]+)`", _METHOD.read_text(encoding="utf-8")))
    blocks = []
    for name in sorted(names):
        parent = name.rpartition(".")[0].rpartition(".")[2]
        kind = "autoclass" if name.rpartition(".")[2][0].isupper() else "autofunction"
        kind = "automethod" if parent[0].isupper() else kind
        blocks.append(f"```{{eval-rst}}\n.. {kind}:: {name}\n```\n")
    return "\n".join(blocks)


PARTS: dict[str, Callable[[], str]] = {"settings": settings, "commands": commands, "functions": functions}
"""What can be generated, by the name in the mark."""


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _model(owner: str) -> type[BaseModel]:
    model: Any = Experiment
    for name in owner.split("."):
        model = model.model_fields[name].annotation
    return model


def _look_up(value: Any, key: str) -> Any:
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _first_paragraph(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n\n")[0]


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{word} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, word in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return " ".join([_type_name(field.annotation), *([", ".join(bounds)] if bounds else [])])


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{_bare(choice)}`" for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type_name(part) for part in get_args(annotation))
    if annotation is NoneType:
        return "nothing"
    if get_origin(annotation) in (list, tuple):
        return f"list of {_type_name(get_args(annotation)[0])}"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`", "Path": "path"}
    return names.get(annotation.__name__, annotation.__name__)


def _bare(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_bare(value)}`"


def _shown(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]


def _usage(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return parameter.metavar or parameter.name.upper()
    return f"{parameter.opts[0]} {parameter.metavar or parameter.name.upper()}"


def _parameter(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation if hasattr(parameter, "type_descriptor") else str
    is_option = parameter.opts[0].startswith("-")
    name = ", ".join([*parameter.opts, *parameter.secondary_opts]) if is_option else _usage(parameter)
    if is_option and annotation is not bool:
        name += f" {parameter.metavar or ''}".rstrip()
    told = ["a flag" if annotation is bool else _type_name(annotation)]
    if parameter.required:
        told.append("needed")
    elif annotation is not bool:
        told.append(f"default {_value(parameter.default)}")
    if parameter.envvar:
        told.append(f"or `{parameter.envvar}` in the environment")
    return f"`{name}`\n: {', '.join(told)}.\n  {parameter.help or ''}\n"
