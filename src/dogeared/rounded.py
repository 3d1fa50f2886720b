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

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dogeared.compute import autocasts_to_bfloat16

__all__ = ["call_rounded", "round_between", "rounded_weights"]


def round_between(model: nn.Module) -> None:
    """Let embeddings and norms return bfloat16 wherever autocast to it is on; their weights stay."""
    for part in model.modules():
        if type(part) is nn.LayerNorm:
            part.__class__ = _LayerNorm
        if isinstance(part, nn.Embedding | nn.LayerNorm) and _round_output not in part._forward_hooks.values():
            part.register_forward_hook(_round_output)
            if isinstance(part, nn.LayerNorm):
                part.register_forward_pre_hook(_norm_in_float32)


def rounded_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return bfloat16 images of all weights of linear layers by name; none where autocast to bfloat16 is off.

    On a GPU norms have images too, for its kernel wants all in one precision.

    They are images of the moment: an optimizer's step makes them stale.
    """
    device = next(model.parameters()).device
    if not autocasts_to_bfloat16(device):
        return {}
    kinds = (nn.Linear,) if device.type == "cpu" else (nn.Linear, _LayerNorm)
    images: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, part in model.named_modules():
        if type(part) not in kinds:
            continue
        for kind, weight in part.named_parameters(recurse=False):
            if weight.device.type == device.type and id(weight) not in seen:
                seen.add(id(weight))
                images[f"{name}.{kind}" if name else kind] = weight.detach().to(torch.bfloat16)
    return images


def call_rounded(model: nn.Module, images: Mapping[str, Tensor], *arguments: Any, **named: Any) -> Any:
    """Call a model with images in the place of its weights; gradients arrive at the weights themselves."""
    if not images:
        return model(*arguments, **named)
    if torch.is_grad_enabled():
        masters = dict(model.named_parameters(remove_duplicate=False))
        images = {name: _stand_in(masters[name], image) for name, image in images.items()}
    return functional_call(model, dict(images), arguments, named)


class _StandIn(torch.autograd.Function):
    """The image going forward, the weight going back.

    One for every call, so that gradients of many calls meet in float32.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, image: Tensor) -> Tensor:
        return image.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].float(), None


def _stand_in(weight: Tensor, image: Tensor) -> Tensor:
    if not weight.requires_grad:
        return image
    standing = _StandIn.apply(weight, image)
    assert isinstance(standing, Tensor)
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
