"""The base of all settings records: frozen, strict, and written to disk as plain JSON.

Each part of the package owns the settings of its work and keeps them beside the code that obeys them;
``pipeline/config.py`` only puts them together. This module holds no setting itself.
"""

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """A frozen record of settings that refuses unknown keys and values of the wrong type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
