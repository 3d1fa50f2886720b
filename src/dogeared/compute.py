"""Where to compute, and in which precision.

``auto`` takes an accelerator where there is one, and bfloat16 where the hardware multiplies matrices in it: several
times faster there, and of no use elsewhere. Master weights and optimizer states stay in float32 in every case.
"""

from typing import Literal

import torch

__all__ = ["Precision", "autocast", "default_device"]

Precision = Literal["auto", "fp32", "bf16"]


def default_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Compute matrix products in the wanted precision for the time of a ``with`` block."""
    wanted = precision == "bf16" or (precision == "auto" and _multiplies_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False
