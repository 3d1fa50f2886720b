"""The site of the documents: it builds without a warning, needs no other host, and shows what the code knows."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from dogeared.cli import app
from dogeared.pipeline.config import Experiment, setting_keys

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs"))

from generated import PARTS, filled  # noqa: E402 - it stands with the pages


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; warnings, such as links that lead nowhere, are errors."""
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(ROOT / "docs"), str(out)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def entries(page):
    """What stands beside each name of a generated page."""
    return dict(re.findall(r"^`([^`\n]+)`\n: (.*?)\n\n", page + "\n\n", flags=re.DOTALL | re.M))


def test_every_setting_is_there_with_its_default_and_type():
    told = entries(PARTS["settings"]())
    assert told.keys() == setting_keys().keys()
    assert told["reader.num_passages"].startswith("whole number at least 0, default `20`; base `40`; cpu `10`;")
    assert told["rounds.enough_overlap"].startswith("number more than 0, at most 1, default `0.95`.")
    assert told["start_model"].startswith("text or nothing, default nothing.")
    assert told["leave_out_source"].startswith("`true` or `false`, default `false`.")
    assert told["retriever_training.loss"].startswith('`"kl"` or `"mse"` or')
    for key, text in setting_keys().items():
        value = Experiment()
        for name in key.split("."):
            value = getattr(value, name)
        shown = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else value
        assert f"default {'nothing' if value is None else f'`{shown}`'}" in told[key]
        assert text in told[key]


def test_every_command_and_option_is_there():
    page = PARTS["commands"]()
    group = get_command(app)
    assert set(re.findall(r"^### `([\w-]+)`$", page, flags=re.M)) == set(group.commands)
    for name, command in group.commands.items():
        section = page.partition(f"### `{name}`\n")[2].partition("\n##")[0]
        assert command.help.splitlines()[0] in section
        told = entries(section)
        assert len(told) == len(command.params)
        for parameter in command.params:
            (text,) = [
                text for head, text in told.items() if set(parameter.opts) & set(head.replace(",", "").split())
            ] or [told[parameter.metavar or parameter.name.upper()]]
            assert (parameter.help or "") in text
            assert ("needed" in text.splitlines()[0]) == parameter.required
            if parameter.default is not None and not isinstance(parameter.default, bool):
                assert str(parameter.default) in text


def test_a_mark_without_a_part_is_an_error():
    assert filled("<!-- of another kind -->") == "<!-- of another kind -->"
    with pytest.raises(KeyError):
        filled("<!-- generated: nothing -->")


def test_pages_load_nothing_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert {"index.html", "settings.html", "commands.html", "python.html", "method.html"} <= {
        page.name for page in pages
    }
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:link|script|img|iframe|source)\b[^>]*?\b(?:src|href)="([^"]*)"', text)
        assert [address for address in loaded if re.match(r"(?:\w+:)?//", address)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:\w+:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_method_leads_to_its_functions(site):
    text = (site / "method.html").read_text(encoding="utf-8")
    source = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    documented = (site / "python.html").read_text(encoding="utf-8")
    for name in set(re.findall(r"`(dogeared\.[\w.]+)`", source)):
        assert f'href="python.html#{name}"' in text, name
        assert f'id="{name}"' in documented, name
    assert text.count("<math") == len(re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", source, flags=re.DOTALL)) >= 20
    assert "\\frac" not in html.unescape(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_every_page_is_reached_from_the_first(site):
    pages = {file.relative_to(ROOT / "docs").with_suffix("").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    index = (site / "index.html").read_text(encoding="utf-8")
    top = {name for name in pages - {"index"} if "/" not in name} | {"decisions/index"}
    assert [name for name in sorted(top) if f'href="{name}.html"' not in index] == []
