"""Products of a few rows with a large matrix, on a CPU in float32: a word that is written, a question that is searched.

They take as long as the large matrix takes to be read, or should. The library's way, with the few rows on the left,
takes two to four times that on some processors, and one row alone is multiplied in one thread, however many there are.
With the large matrix on the left, and cut into a piece for each thread where there is one row, it comes near
(docs/performance.md). The numbers are those of the library but for the order in which they are added up.

Only without gradients, as none is wanted where rows are few.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FEW_ROWS", "is_plain_linear", "times_transposed", "use_few_rows"]

FEW_ROWS = 64
"""Of more the library's way is as fast, or nearly."""


def times_transposed(few: Float[Tensor, "few dim"], many: Float[Tensor, "many dim"]) -> Float[Tensor, "few many"]:
    """Return ``few @ many.T`` of two matrices on a CPU; not in one piece where it is made the other way round."""
    if len(few) > FEW_ROWS:
        return few @ many.T
    threads = torch.get_num_threads()
    if len(few) != 1 or threads == 1:
        return (many @ few.T).T
    each = len(many) // threads
    pieces = many[: threads * each].unflatten(0, (threads, each))
    of_pieces = (pieces @ few.T.expand(threads, -1, -1)).view(1, -1)
    rest = many[threads * each :]
    return torch.cat([of_pieces, few @ rest.T], dim=1) if len(rest) else of_pieces


def use_few_rows(model: nn.Module) -> None:
    """Let all linear layers of a model multiply few rows so, in place."""
    for part in model.modules():
        if type(part) is nn.Linear:
            part.__class__ = _Linear


def is_plain_linear(part: object) -> bool:
    """Tell whether this is a linear layer and nothing else, whoever multiplies."""
    return type(part) in (nn.Linear, _Linear)


class _Linear(nn.Linear):
    """Takes the place of ``nn.Linear``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Multiply."""
        if not self._takes(input):
            return super().forward(input)
        # In one piece: whoever reads it next, a softmax over words above all, would take longer than the copy.
        product = times_transposed(input.reshape(-1, self.in_features), self.weight).contiguous()
        if self.bias is not None:
            product = product + self.bias
        return product.reshape(*input.shape[:-1], self.out_features)

    def _takes(self, rows: Tensor) -> bool:
        return (
            rows.device.type == "cpu"
            and 0 < rows.numel() <= FEW_ROWS * self.in_features
            and rows.dtype == self.weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )
