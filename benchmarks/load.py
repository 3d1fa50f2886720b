"""Ask a running service many questions at once, and report how long the answers took.

    python -m benchmarks.load http://127.0.0.1:8800 questions.jsonl --requests 1000 --at-once 32

A 429 is counted apart and not tried again; anything but 200 and 429 is an error.
"""

import argparse
import itertools
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx


def main() -> None:
    """Send the requests and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("questions", type=Path, help="JSONL with a field question.")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    lines = options.questions.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines if line.strip()]
    with httpx.Client(
        base_url=options.url, timeout=120, limits=httpx.Limits(max_connections=options.at_once)
    ) as client:

        def ask(question: str) -> tuple[int, float]:
            began = time.perf_counter()
            try:
                status = client.post("/v1/ask", json={"question": question}).status_code
            except httpx.HTTPError:
                status = 0
            return status, time.perf_counter() - began

        began = time.perf_counter()
        with ThreadPoolExecutor(options.at_once) as pool:
            done = list(pool.map(ask, itertools.islice(itertools.cycle(questions), options.requests)))
        took = time.perf_counter() - began
    seconds = sorted(value for _, value in done)
    figures = {
        f"p{share}_seconds": seconds[min(len(seconds) - 1, len(seconds) * share // 100)] for share in (50, 95, 99)
    }
    statuses = dict(Counter(str(status) for status, _ in done))
    print(json.dumps({"statuses": statuses, "requests_per_second": len(done) / took, **figures}, indent=1))


if __name__ == "__main__":
    main()
