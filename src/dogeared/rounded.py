"""Weights rounded to bfloat16 once, for many calls of a model.

Autocast rounds weights at every call and activations before every product, and adds what it got to activations that
stay in float32: on a CPU with fast bfloat16 products half of a small encoder's time goes into such copies, and on a GPU
a third of T5-base's. Here the weights of linear layers are rounded once a step, or once a corpus, and what an embedding
or a norm returns is rounded once: everything behind it is in bfloat16 already. Softmax and sums keep float32 inside, as
torch's kernels do by themselves; gradients of weights are added up in float32. With gradients a norm on a CPU computes
in float32: the kernel adds up those of its bias in its input's precision, which loses most of them (86 % in the last
layer of MiniLM). The kernel of a GPU adds up in float32, and there a norm is called outside of autocast, which would
have it make two copies.

It works inside autocast, which still sees to whatever else there is. Not here: when autocast is on (``compute.py``).

Source: master weights in float32, Micikevicius et al. 2018 (arXiv 1710.03740).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dogeared.compute import autocasts_to_bfloat16
from dogeared.few_rows import is_plain_linear

__all__ = ["Images", "call_rounded", "round_between", "rounded_weights"]


def round_between(model: nn.Module) -> None:
    """Let embeddings and norms return bfloat16 wherever autocast to it is on; their weights stay."""
    for part in model.modules():
        if type(part) is nn.LayerNorm:
            part.__class__ = _LayerNorm
        if isinstance(part, nn.Embedding | nn.LayerNorm) and _round_output not in part._forward_hooks.values():
            part.register_forward_hook(_round_output)
            if isinstance(part, nn.LayerNorm):
                part.register_forward_pre_hook(_norm_in_float32)


class Images(dict[str, Tensor]):
    """What shall stand in the place of a model's weights, by their names.

    Where each belongs is looked up once, not at every call: for a small encoder on a GPU that is a tenth of a call.

    Args:
        model: Its weights may change, its modules may not; None where there shall be no images.

    Attributes:
        places: The modules in which a weight stands, and what it is called there, by each name that it has.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        places: dict[int, list[tuple[nn.Module, str]]] = {}
        self.places: dict[str, list[tuple[nn.Module, str]]] = {}
        for name, part in () if model is None else model.named_modules():
            for kind, weight in part._parameters.items():
                if weight is not None:  # one weight may stand in several places, and have a name in each
                    of_weight = places.setdefault(id(weight), [])
                    of_weight.append((part, kind))
                    self.places[f"{name}.{kind}" if name else kind] = of_weight

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Let them stand there for the time of the block; gradients arrive at the weights themselves."""
        places = [self.places[name] for name in self]
        weights = [_weight_at(of_weight) for of_weight in places]
        try:
            _put(_stand_ins(weights, [*self.values()]), places)
            yield
        finally:
            _put(weights, places)


def _weight_at(places: Sequence[tuple[nn.Module, str]]) -> Tensor:
    part, kind = places[0]
    weight = part._parameters[kind]
    assert weight is not None, "what has no weight has no place"
    return weight


def _put(tensors: Sequence[Tensor], places: Sequence[Sequence[tuple[nn.Module, str]]]) -> None:
    parameters: Any
    for tensor, of_weight in zip(tensors, places, strict=True):
        for part, kind in of_weight:
            parameters = part._parameters  # torch lets nothing but parameters be set by name
            parameters[kind] = tensor


def rounded_weights(model: nn.Module) -> Images:
    """Return bfloat16 images of all weights of linear layers by name; none where autocast to bfloat16 is off.

    On a GPU norms have images too, for its kernel wants all in one precision.

    They are images of the moment: an optimizer's step makes them stale.
    """
    device = next(model.parameters()).device
    if not autocasts_to_bfloat16(device):
        return Images()
    images = Images(model)
    rounds_norms = device.type != "cpu"
    rounded: set[int] = set()
    for name, places in images.places.items():
        weight = _weight_at(places)
        is_wanted = weight.device.type == device.type and any(
            is_plain_linear(part) or (rounds_norms and type(part) is _LayerNorm) for part, _ in places
        )
        if is_wanted and id(weight) not in rounded:
            rounded.add(id(weight))
            images[name] = weight.detach().to(torch.bfloat16)
    return images


def call_rounded(model: nn.Module, images: Images | None, *arguments: Any, **named: Any) -> Any:
    """Call a model with images in the place of its weights, if there are any.

    The model is changed for the time of the call, so one thread at a time may use it.
    """
    if not images:
        return model(*arguments, **named)
    with images.in_place_of_weights():
        return model(*arguments, **named)


class _StandIns(torch.autograd.Function):
    """Images going forward, weights going back.

    One for every call, so that gradients of many calls meet in float32.
    """

    @staticmethod
    def forward(ctx: Any, *both: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # a weight that was not called for gets no gradient
        return tuple(image.detach() for image in both[len(both) // 2 :])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return *(None if one is None else one.float() for one in gradients), *(None for _ in gradients)


def _stand_ins(weights: list[Tensor], images: list[Tensor]) -> list[Tensor]:
    if not torch.is_grad_enabled():
        return images
    standing = [*images]
    learning = [place for place, weight in enumerate(weights) if weight.requires_grad]
    # A GPU waits for whoever tells it what to do, so all at once; a CPU has a gradient at hand when it is just made.
    at_once = len(learning) if learning and weights[learning[0]].device.type != "cpu" else 1
    for start in range(0, len(learning), at_once):
        some = learning[start : start + at_once]
        made: Any = _StandIns.apply(*(weights[place] for place in some), *(images[place] for place in some))
        for place, image in zip(some, made, strict=True):
            standing[place] = image
    return standing


class _LayerNorm(nn.LayerNorm):
    """Takes the place of ``nn.LayerNorm``; computes in one kernel where all is in bfloat16 on a GPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if input.device.type == "cpu" or input.dtype != torch.bfloat16 or not autocasts_to_bfloat16(input.device):
            return super().forward(input)
        return self.in_one_kernel(input)

    def in_one_kernel(self, states: Tensor) -> Tensor:
        weight, bias = (None if one is None else one.to(states.dtype) for one in (self.weight, self.bias))
        with torch.autocast(states.device.type, enabled=False):
            return F.layer_norm(states, self.normalized_shape, weight, bias, self.eps)


def _round_output(part: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    return output.to(torch.bfloat16) if autocasts_to_bfloat16(output.device) else output


def _norm_in_float32(norm: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
    device = arguments[0].device
    is_wanted = device.type == "cpu" and torch.is_grad_enabled() and autocasts_to_bfloat16(device)
    return (arguments[0].float(),) if is_wanted else arguments
