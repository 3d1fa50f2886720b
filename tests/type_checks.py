"""What checks shapes at every call of the package while tests run; ``addopts`` in pyproject.toml hands it to jaxtyping.

Only functions and records that name a shape are checked: beartype cannot check a lone method that returns ``Self``, nor
a protocol that refuses ``isinstance``, and pyright sees to both.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray

__all__ = ["checked"]


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let beartype check a function if its signature names a shape."""
    return beartype(function) if any(map(_names_shape, function.__annotations__.values())) else function


def _names_shape(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(_names_shape, get_args(hint)))
