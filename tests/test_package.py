"""The wheel carries everything it needs, and works where there is no clone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("dogeared-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parent, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_wheel_holds_presets_weights_and_templates(unpacked):
    package = unpacked / "dogeared"
    assert {file.stem for file in (package / "presets").glob("*.toml")} >= {"tiny", "cpu", "base", "paper"}
    assert (package / "demo/reader/model.safetensors").is_file()
    assert (package / "demo/encoder/model.safetensors").is_file()
    assert (package / "templates/report.html.j2").is_file()
    ours = Path(__file__).parents[1] / "src/dogeared/serving/page"
    assert {file.name for file in (package / "serving/page").iterdir()} == {file.name for file in ours.iterdir()}
    assert (package / "py.typed").is_file()
    assert sum(file.stat().st_size for file in (package / "demo").rglob("*") if file.is_file()) < 12_000_000


def test_it_works_outside_the_clone(unpacked):
    code = (
        "import dogeared; from pathlib import Path;"
        f"assert Path(dogeared.__file__).is_relative_to({str(unpacked)!r});"
        "from dogeared.pipeline.config import load_experiment;"
        "from dogeared.reader.fid import FusionInDecoder;"
        "from dogeared.retrieval.dual_encoder import DualEncoder;"
        "e = load_experiment(preset='tiny');"
        "FusionInDecoder.load(e.reader); print(DualEncoder.load(e.retriever).dim)"
    )
    assert int(run(unpacked, code)) > 0


def test_the_command_answers_at_once(unpacked):
    code = (
        "import time, sys; start = time.perf_counter();"
        "from typer.testing import CliRunner; from dogeared.cli import app;"
        "result = CliRunner().invoke(app, ['--help']); assert 'validate' in result.output;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    run(unpacked, code)
