"""Make the pictures of the page that the documents show, from a finished run of the demo.

    python scripts/make_pictures.py runs/demo docs/pictures

Needs the extras ``dev`` and a Chromium, which DOGEARED_CHROMIUM may name.
"""

import argparse
import json
import os
import shutil
import threading
from pathlib import Path

import uvicorn
from playwright.sync_api import Page, sync_playwright

from dogeared.service import QuestionAnswering
from dogeared.serving.app import create_app
from dogeared.serving.threshold import find_threshold


def main() -> None:
    """Serve the run, look at it in each way, and write one file for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--question", help="Where not said, the first test question that is answered right and for sure."
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    service = QuestionAnswering.open(options.run, both=True)
    threshold = find_threshold(options.run, service).confidence
    app = create_app(options.run, service, threshold=threshold)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        _take(address, options.out, options.question or _answered_question(options.run, service, threshold))
    finally:
        server.should_exit = True
        thread.join()


def _take(address: str, out: Path, question: str) -> None:
    chromium = os.environ.get("DOGEARED_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, colours, locale in (("light", "light", "en-US"), ("dark", "dark", "en-US"), ("zh", "light", "zh-CN")):
            context = browser.new_context(
                viewport={"width": 1180, "height": 1000},
                locale=locale,
                color_scheme="dark" if colours == "dark" else "light",
            )
            page = context.new_page()
            page.goto(address)
            _ask(page, question)
            page.screenshot(path=out / f"ask-{name}.png")
            if name == "light":
                page.locator("#compare").click()
                page.locator(".side").nth(1).wait_for()
                page.screenshot(path=out / "compare.png")
                page.goto(f"{address}/#run")
                page.locator("figure").first.wait_for()
                page.screenshot(path=out / "run.png", full_page=True)
            context.close()
        browser.close()


def _ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.locator("#form button").click()
    page.locator(".passages > li").first.wait_for()
    page.locator(".tokens button").nth(1).click()


def _answered_question(run: Path, service: QuestionAnswering, threshold: float | None) -> str:
    rows = map(json.loads, (run / "data/questions.jsonl").read_text(encoding="utf-8").splitlines())
    for row in rows:
        if row["split"] == "test":
            answered = service.ask(row["question"])
            if answered.answer in row["answers"] and answered.confidence >= (threshold or 0.0):
                return row["question"]
    raise SystemExit("expected a test question that is answered right, found none; give one with --question")


if __name__ == "__main__":
    main()
