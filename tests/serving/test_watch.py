"""Passages that change while a run is served are searched in without a restart."""

import json
import logging
import shutil
import threading
import time
from pathlib import Path

import pytest

import dogeared.serving.watch as watching
from dogeared.pipeline.editing import add_passages, remove_passages
from dogeared.service import QuestionAnswering
from dogeared.serving.watch import PassageWatch


@pytest.fixture(params=[0, 1], ids=["by words", "by vectors"])
def folder(request, tiny_run, tmp_path):
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    file = folder / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"best": request.param}))
    return folder


@pytest.fixture
def more(tmp_path):
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps({"id": "new", "title": "the house", "text": "she was born in the sea zanzibar"}) + "\n")
    return file


def ids(service, side="after"):
    return {found.passage.id for found in service.search("was she born in the sea ?", k=99, side=side)}


def test_added_and_removed_passages_are_searched_in(folder, more):
    service = QuestionAnswering.open(folder, both=True)
    watch = PassageWatch(folder, service, hybrid=False)
    before = service.search("zanzibar", k=1)
    assert not watch.look()
    add_passages(folder, more)
    assert service.search("zanzibar", k=1) == before, "nothing changes under a question"
    assert watch.look()
    assert "new" in ids(service)
    assert "new" in ids(service, "before")
    assert not watch.look()
    remove_passages(folder, ["new"])
    assert "new" in ids(service), "what is searched in is gone from the disk, and still there"
    assert watch.look()
    assert "new" not in ids(service) | ids(service, "before")
    assert service.search("zanzibar", k=1) == before
    # The same as a service that is opened now.
    fresh = QuestionAnswering.open(folder, both=True)
    assert service.ask("was she born ?", k=5) == fresh.ask("was she born ?", k=5)


def test_it_is_noticed_while_questions_are_asked(folder, more):
    service = QuestionAnswering.open(folder)
    wrong, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                service.ask("was she born in the sea ?", k=3)
            except Exception as error:
                wrong.append(error)

    asking = threading.Thread(target=ask)
    with PassageWatch(folder, service, hybrid=False, seconds=0.02):
        asking.start()
        add_passages(folder, more)
        give_up = time.monotonic() + 60
        while "new" not in ids(service):
            assert time.monotonic() < give_up, "the new passage was not noticed"
            time.sleep(0.02)
        stop.set()
        asking.join()
    assert wrong == []


def test_what_cannot_be_loaded_leaves_the_old_and_is_told_once(folder, more, caplog):
    service = QuestionAnswering.open(folder)
    watch = PassageWatch(folder, service, hybrid=False)
    old = ids(service)
    add_passages(folder, more)
    data = folder / "edited" / "000001" / "data"
    data.rename(data.with_name("away"))
    with caplog.at_level(logging.WARNING, "dogeared"):
        assert not watch.look()
        assert not watch.look()
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "so the old ones stay" in told
    assert ids(service) == old
    data.with_name("away").rename(data)
    assert watch.look()
    assert "new" in ids(service)


def test_whatever_goes_wrong_it_goes_on_looking(folder, more, monkeypatch, caplog):
    """A GPU may have no room for the old passages and the new."""
    service, failures, load = QuestionAnswering.open(folder), [], watching.load_searched

    def failing(*given, **named):
        if len(failures) < 3:
            failures.append(None)
            raise RuntimeError("CUDA out of memory")
        return load(*given, **named)

    monkeypatch.setattr(watching, "load_searched", failing)
    with PassageWatch(folder, service, hybrid=False, seconds=0.02):
        add_passages(folder, more)
        give_up = time.monotonic() + 60
        while "new" not in ids(service):
            assert time.monotonic() < give_up, "nobody looks any more"
            time.sleep(0.02)
    assert len(failures) == 3
    assert caplog.text.count("so the old ones stay: CUDA out of memory") == 1
