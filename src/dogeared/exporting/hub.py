"""Sends an exported folder to the hub, or to any server that speaks as it does (``HF_ENDPOINT``).

Who may write is the hub's own business: its client takes the token of ``hf auth login`` or ``HF_TOKEN``. A repository
that is made here is private unless the caller says otherwise; one that stands already keeps what it is.
"""

import os
from pathlib import Path

from dogeared.errors import ConfigError, DogearedError

__all__ = ["check_name", "push"]


def check_name(name: str) -> None:
    """Find out before any work whether the hub can have such a repository.

    Raises:
        ConfigError: It cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push-to-hub: expected OWNER/NAME as the hub has them, got {name!r}: {error}") from None


def push(folder: Path, name: str, *, public: bool = False) -> str:
    """Upload a folder in one commit and return where it can be looked at.

    Args:
        folder: All of it is sent.
        name: The repository, made if it is not there.
        public: Let everybody see a repository that is made now.

    Raises:
        ConfigError: The hub refuses, or cannot be reached; nothing is left half done there.
    """
    from huggingface_hub import HfApi

    check_name(name)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="dogeared")
    try:
        made = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Retriever exported by dogeared")
    except DogearedError:
        raise
    except Exception as error:  # the client's own kinds, and those of what it sends by, differ by version
        raise ConfigError(
            f"--push-to-hub: {name} could not be sent to {api.endpoint} ({error}). The export stands in {folder}; log "
            "in with `hf auth login` or set HF_TOKEN to a token that may write, and try again"
        ) from error
    return str(made)
