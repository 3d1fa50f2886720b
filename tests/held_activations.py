"""How much of an encoder is in memory while it learns, by counting what its inner layers made and is still there."""

import weakref
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["held_at_every_chunk"]


def held_at_every_chunk(encoder: nn.Module, width: int, work: Callable[[], Tensor]) -> list[int]:
    """Go forward and back; return, whenever a chunk goes in, of how many chunks the activations are still held.

    Args:
        encoder: A BERT, or one for questions and one for passages.
        width: Of its feed-forward layers.
        work: Returns a loss.
    """
    held, counts = weakref.WeakSet(), []

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        held.add(output)
        counts.append(len(held))

    inner = [module for module in encoder.modules() if isinstance(module, nn.Linear) and module.out_features == width]
    hook = inner[0].register_forward_hook(note)
    work().backward()
    hook.remove()
    return counts
