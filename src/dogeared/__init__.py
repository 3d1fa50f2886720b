"""Train a retriever from its reader, with no relevance labels.

The public library is three names:

* ``dogeared.run(passages=..., questions=..., out=...)`` does all rounds of the method;
* ``dogeared.load(DIR).ask(question)`` answers from a finished run;
* ``dogeared.load(DIR).search(question)`` lists passages.

Importing this package imports nothing heavy: torch and the libraries above it load with the first call.

Source: Izacard and Grave, "Distilling Knowledge from Reader to Retriever for Question Answering", ICLR 2021.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dogeared.api import load, run

__all__ = ["__version__", "load", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in ("load", "run"):
        from dogeared import api

        return getattr(api, name)
    raise AttributeError(f"module 'dogeared' has no attribute {name!r}; the public names are {', '.join(__all__)}")
