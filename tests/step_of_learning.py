"""What a step of a student leaves behind: its gradients, and how many activations it held on the way.

Activations are counted by what an inner layer made and is still there.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["gradients", "held_at_every_chunk"]


def gradients(student: nn.Module, batch: Any) -> tuple[float, dict[str, Tensor]]:
    """Go forward and back over a batch, with dropout of one seed; return the loss and what each parameter got."""
    student.zero_grad()
    torch.manual_seed(7)
    loss = student(batch)
    loss.backward()
    found = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    assert max(value.abs().max() for value in found.values()) > 0.01
    return loss.item(), found


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
