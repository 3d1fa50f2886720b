"""Dropout, set from outside: a model reads it from its configuration when it is built, and never again.

A model keeps it in ``nn.Dropout`` modules, and as a plain number in modules that hand it on to a function.
"""

from torch import nn

__all__ = ["set_dropout"]

_NUMBERS = ("dropout", "activation_dropout", "attention_dropout")


def set_dropout(model: nn.Module, probability: float) -> None:
    """Change every dropout of a model in place; its saved configuration does not change."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        for name in _NUMBERS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)
