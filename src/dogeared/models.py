"""Where a model's name leads: to the hub, to a folder, or to the weights shipped in this package.

A name is passed on as it is, but for ``demo:NAME``, which stands for a folder inside the package. This module loads
nothing.
"""

from importlib.resources import files
from pathlib import Path

from dogeared.errors import ModelError

__all__ = ["DEMO_PREFIX", "resolve_model"]

DEMO_PREFIX = "demo:"


def resolve_model(name: str) -> str:
    """Turn the name of a model into what the libraries load from.

    Raises:
        ModelError: The name means a shipped model that does not exist, or a folder that is not there.
    """
    if name.startswith(DEMO_PREFIX):
        folder = Path(str(files("dogeared"))) / "demo" / name.removeprefix(DEMO_PREFIX)
        if not (folder / "config.json").is_file():
            shipped = sorted(path.name for path in folder.parent.glob("*") if (path / "config.json").is_file())
            raise ModelError(
                f"{name}: no such model is shipped; there are {', '.join(DEMO_PREFIX + n for n in shipped)}"
            )
        return str(folder)
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise ModelError(f"{name}: expected a folder with a saved model (config.json), found none there")
        return str(folder)
    return name
