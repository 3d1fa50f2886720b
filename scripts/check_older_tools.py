"""Load an exported retriever in older versions of sentence-transformers, and compare vectors.

    python scripts/check_older_tools.py FOLDER [--version ST=TRANSFORMERS=TOKENIZERS ...]

Each version is installed without its dependencies into a folder of its own, in front of this environment; torch is this
environment's. It needs a package index, some minutes, and 300 MB a version. FOLDER is what ``dogeared export`` made.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("2.7.0=4.40.2=0.19.1", "3.4.1=4.49.0=0.21.4", "5.0.0=4.56.2=0.22.2")

LOAD = """
import json, math, sys
import sentence_transformers, transformers
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
told = json.load(open(sys.argv[1] + "/reference_vectors.json", encoding="utf-8"))
worst = 0.0
for item in told["items"]:
    route = {"task": item["kind"]} if type(model[0]).__name__ == "Router" else {}
    vector = model.encode(item["text"], show_progress_bar=False, **route).tolist()
    worst = max(worst, math.dist(vector, item["vector"]) / math.hypot(*item["vector"]))
st, t = sentence_transformers.__version__, transformers.__version__
print(f"sentence-transformers {st}, transformers {t}: {worst:.1e}")
sys.exit(worst > told["tolerance"])
"""


def main() -> None:
    """Check each version, and fail if one gives other vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", action="append", help="ST=TRANSFORMERS=TOKENIZERS")
    options = parser.parse_args()
    failed = False
    for version in options.version or VERSIONS:
        st, transformers, tokenizers = version.split("=")
        with tempfile.TemporaryDirectory() as packages:
            wanted = [f"sentence-transformers=={st}", f"transformers=={transformers}", f"tokenizers=={tokenizers}"]
            wanted += ["huggingface_hub<1", "datasets==3.6.0"]
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, *wanted],
                check=True,
            )
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", LOAD, str(options.folder)], env={"PYTHONPATH": packages}
            )
        failed = failed or done.returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
