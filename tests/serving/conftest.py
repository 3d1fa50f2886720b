"""A service over the tiny run, opened once."""

import shutil

import pytest

from dogeared.service import QuestionAnswering


@pytest.fixture(scope="session")
def run_folder(tiny_run, tmp_path_factory):
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("serving") / "run")


@pytest.fixture(scope="session")
def service(run_folder):
    return QuestionAnswering.open(run_folder, both=True)
