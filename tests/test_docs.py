"""The documents tell the truth: what they name exists, and the commands they show are commands."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from dogeared.cli import app
from dogeared.pipeline.config import load_experiment, preset_names, setting_keys

ROOT = Path(__file__).parent.parent


def resolve(dotted: str):
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            value = getattr(value, name)
        return value
    raise AssertionError(f"{dotted} does not exist")


@pytest.mark.parametrize(
    "dotted", sorted(set(re.findall(r"`(dogeared\.[\w.]+)`", (ROOT / "docs/method.md").read_text())))
)
def test_method_names_what_exists(dotted):
    assert callable(resolve(dotted))


def test_the_method_table_names_a_function_in_each_row():
    rows = [line for line in (ROOT / "docs/method.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    assert all(re.search(r"`dogeared\.[\w.]+` \|$", row) for row in rows)


PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(page: Path, *languages: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [code for language, code in blocks if language in languages]


def shown_commands() -> list[str]:
    blocks = [code for page in PAGES for code in code_blocks(page, "", "sh", "bash")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith(("dogeared ", "make "))]


@pytest.mark.parametrize("line", sorted(set(shown_commands())))
def test_shown_commands_parse(line):
    program, *arguments = shlex.split(line)
    if program == "make":
        verbs = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(arguments) <= set(verbs)
        return
    group = get_command(app)
    context = group.make_context("dogeared", list(arguments), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    settings = command.make_context(name, rest, parent=context).params.get("overrides")
    load_experiment(
        preset=None, overrides=[one for one in settings or [] if not one.split("=")[0].endswith("start_model")]
    )


def test_the_readme_is_the_same_in_chinese():
    def outline(name):
        page = (ROOT / name).read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
        return {
            "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, flags=re.MULTILINE)],
            "code": [
                [line.split(" #")[0].rstrip() for line in code.splitlines()]
                for code in code_blocks(ROOT / name, "", "python")
            ],
            "figures": [re.findall(r"\d\.\d+", row) for row in re.findall(r"^\|.*\|$", prose, flags=re.MULTILINE)],
            "promises": len(re.findall(r"^- ", prose, flags=re.MULTILINE)),
            "links": sorted(set(re.findall(r"\]\((docs/[\w./-]+\.md|docs/[\w-]+|CONTRIBUTING\.md)\)", prose))),
            "names": sorted(set(re.findall(r"`(dogeared [\w-]+|[\w.]+ ?= ?[\w\".]+|--\w+)`", prose))),
        }

    assert outline("README.zh-CN.md") == outline("README.md")


@pytest.mark.parametrize("page", PAGES[:3], ids=lambda page: page.name)
def test_links_of_pages_outside_the_site_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_commands_are_shown():
    assert any(line.startswith("dogeared run") for line in shown_commands())
    assert {"make demo", "make test"} <= set(shown_commands())


@pytest.mark.parametrize("preset", preset_names())
def test_presets_load(preset):
    load_experiment(preset=preset)


def test_every_setting_says_what_it_does():
    silent = [key for key, text in setting_keys().items() if len(text) < 15]
    assert silent == []
