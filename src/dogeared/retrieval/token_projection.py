"""A projection of every token, before tokens are pooled: the paper's reference code has it, and no library module does.

A normalisation of tokens does not commute with their mean, so that a retriever with both cannot be put together of
stock modules. It is only needed for imported checkpoints that have one; a folder with it loads through
``DualEncoder.load``.
"""

import json
from pathlib import Path
from typing import Any, Self

from sentence_transformers.base.modules.module import Module
from torch import Tensor, nn

__all__ = ["TokenProjection", "has_token_projection"]


class TokenProjection(Module):
    """A linear map and a layer normalisation of every token.

    Args:
        in_features: The size of a token.
        out_features: Its size afterwards.
    """

    config_keys: list[str] = ["in_features", "out_features"]  # noqa: RUF012 - the library's own declaration

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.proj = nn.Linear(in_features, out_features)
        self.norm = nn.LayerNorm(out_features)

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Project the tokens."""
        features["token_embeddings"] = self.norm(self.proj(features["token_embeddings"]))
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the sizes and the weights, as the library's modules do."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> Self:
        """Read what ``save`` wrote, as the library's modules do."""
        names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        where: dict[str, Any] = {name: kwargs[name] for name in names if name in kwargs}
        module = cls(**cls.load_config(model_name_or_path=model_name_or_path, **where))
        cls.load_torch_weights(model_name_or_path=model_name_or_path, model=module, **where)
        return module


def has_token_projection(folder: str) -> bool:
    """Tell whether a folder's model has this module, and nothing in the folder could run other code.

    The library imports modules that are not its own only for whom it is told to trust, and then trusts much more: code
    in the folder, and code elsewhere that a configuration names (``auto_map``). So all modules must be this one or the
    library's, and no file may be code or name any; else the answer is no, and the library itself refuses the folder.
    """
    listed = Path(folder) / "modules.json"
    if not listed.is_file() or any(Path(folder).rglob("*.py")):
        return False
    if any('"auto_map"' in file.read_text(encoding="utf-8", errors="replace") for file in Path(folder).rglob("*.json")):
        return False
    try:
        modules = json.loads(listed.read_text(encoding="utf-8"))
        types = [module["type"] for module in modules]
    except (ValueError, TypeError, KeyError):
        return False
    own = f"{TokenProjection.__module__}.{TokenProjection.__qualname__}"
    return own in types and all(
        name == own or (isinstance(name, str) and name.startswith("sentence_transformers.")) for name in types
    )
