"""Feeds one reader with inputs that atheris makes, guided by which lines of the package they reach.

    python -m fuzz.guided READER INPUTS

The package must be imported under atheris's eyes, so this is a process of its own. An input that the reader does not
end well on is kept, and ends the process with an error.
"""

import sys
import tempfile
from pathlib import Path

__all__ = ["main"]


def main(name: str, number: int) -> None:
    """Try inputs; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["dogeared"]):
        from fuzz.readers import READERS, ends_well
    from fuzz.run import keep

    reader = READERS[name]
    folder = Path(tempfile.mkdtemp())  # the fuzzer ends the process by force: whoever started it removes this
    (folder / "work").mkdir()
    (folder / "seeds").mkdir()
    for place, seed in enumerate(reader.seeds):
        (folder / "seeds" / str(place)).write_bytes(seed)

    def trial(content: bytes) -> None:
        try:
            ends_well(reader, content, folder / "work")
        except BaseException:
            keep(name, content)
            raise

    options = ["-max_len=4096", "-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1", "-seed=1"]
    options += [f"-runs={number}", f"-artifact_prefix={folder}/", str(folder / "seeds")]
    atheris.Setup([sys.argv[0], *options], trial)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
