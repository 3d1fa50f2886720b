"""Where a model's name leads: to the hub, to a folder, or to the weights shipped in this package.

``demo:NAME`` stands for a folder inside the package; a folder stands for itself; every other name is the hub's. The hub
is asked once whether it has such a model, because the libraries go on asking for minutes where it cannot be reached.
This module loads nothing.

And one thing that all models have in common when they are saved: a tokenizer that is written the same every time.
"""

import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

from dogeared.errors import ModelError

__all__ = ["DEMO_PREFIX", "forget_last_call", "resolve_model"]

logger = logging.getLogger(__name__)

DEMO_PREFIX = "demo:"
_PATIENCE_SECONDS = 10.0


def resolve_model(name: str) -> str:
    """Turn the name of a model into what the libraries load from.

    Raises:
        ModelError: The name means a shipped model that does not exist, a folder that is not there, or a model that the
            hub does not have; or the hub cannot be reached and the model was never fetched before.
    """
    if name.startswith(DEMO_PREFIX):
        folder = Path(str(files("dogeared"))) / "demo" / name.removeprefix(DEMO_PREFIX)
        if not (folder / "config.json").is_file():
            shipped = sorted(path.name for path in folder.parent.glob("*") if (path / "config.json").is_file())
            raise ModelError(
                f"{name}: no such model is shipped; there are {', '.join(DEMO_PREFIX + n for n in shipped)}"
            )
        return str(folder)
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) or folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise ModelError(f"{name}: expected a folder with a saved model (config.json), found none there")
        return str(folder)
    return _on_hub(name)


def forget_last_call(tokenizer: Any) -> None:
    """Take back the cutting and padding that a fast tokenizer keeps of its last call and would be saved with.

    Without this the same model has other bytes on disk when training was interrupted after its last step.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def _on_hub(name: str) -> str:
    """Return the name of a model of the hub; the folder it was fetched to before, where the hub cannot be reached."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return name
    try:
        HfApi().repo_info(name, timeout=_PATIENCE_SECONDS)
    except HFValidationError as error:
        raise ModelError(
            f"{name}: expected the name of a model on the hub or a folder that exists, got {error}"
        ) from None
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name}: there is no such folder, and the hub has no such model (or hides it)") from error
    except Exception as error:  # whatever keeps the hub from being reached: the client's own kinds differ by version
        fetched = try_to_load_from_cache(name, "config.json")
        if not isinstance(fetched, str):
            raise ModelError(
                f"{name}: there is no such folder, the hub cannot be reached ({error}), and the model was never "
                "fetched to this machine before. Give a folder made by save_pretrained, or one of the models shipped "
                f"({DEMO_PREFIX}reader, {DEMO_PREFIX}encoder)."
            ) from error
        logger.warning("the hub cannot be reached; %s is taken as it was fetched before", name)
        return str(Path(fetched).parent)
    return name
