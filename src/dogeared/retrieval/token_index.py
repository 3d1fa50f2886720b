"""Exact search over texts with one vector a token: the sum of each question token's best similarity, for every passage.

What ``index.py`` is to single vectors. The vectors of all tokens of all passages lie one after the other in one
memory-mapped file, in float16, for there are a hundred to a passage; a second file says where each passage begins. A
search reads block by block, multiplies on whatever device there is, and keeps the best of each block. Equal scores are
ordered by row, lower first.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dogeared.errors import ArtifactError
from dogeared.retrieval.index import top_columns
from dogeared.retrieval.late_interaction import real_tokens

__all__ = ["STARTS_FILE", "TOKENS_FILE", "TokenIndex", "join_shards", "write_shard"]

TOKENS_FILE = "token-vectors.npy"
STARTS_FILE = "token-starts.npy"


class TokenIndex:
    """All token vectors of a corpus, searched exactly.

    Args:
        tokens: Of all passages, one passage after the other; may be memory-mapped, in float32 or float16.
        starts: Where each passage begins, and behind them the number of tokens.
    """

    def __init__(self, tokens: Float[np.ndarray, "tokens dim"], starts: Int[np.ndarray, " bounds"]) -> None:
        self.tokens = tokens
        self.starts = starts

    @classmethod
    def open(cls, folder: Path) -> "TokenIndex":
        """Open the vectors of an artifact without reading them.

        Raises:
            ArtifactError: There are none, or the two files do not fit together.
        """
        file = folder / TOKENS_FILE
        try:
            tokens = np.load(file, mmap_mode="r", allow_pickle=False)
            starts = np.load(folder / STARTS_FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{file}: expected vectors in numpy's format, and {STARTS_FILE} beside them: {error}; delete {folder} "
                "to remake it"
            ) from error
        if starts[-1] != len(tokens):
            raise ArtifactError(
                f"{file}: expected the {starts[-1]} vectors that {STARTS_FILE} counts, found {len(tokens)}; delete "
                f"{folder} to remake it"
            )
        return cls(tokens, starts)

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self.starts) - 1

    def search(
        self,
        queries: Float[Tensor, "batch asked dim"],
        k: int,
        *,
        block_tokens: int = 16_384,
        block_queries: int = 32,
    ) -> tuple[Float[Tensor, "batch found"], Int[Tensor, "batch found"]]:
        """Return the ``k`` best scores and their rows, best first; fewer where there are fewer passages.

        Args:
            queries: Each filled up with zeros; on the device that shall do the work.
            k: How many to return.
            block_tokens: Vectors in memory at once, of one passage at least.
            block_queries: Queries in one product.
        """
        k = min(k, len(self))
        found = [self._search(part, k, block_tokens) for part in queries.split(block_queries) if len(part)]
        if not found:
            return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.long)
        return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])

    def _search(self, queries: Tensor, k: int, block_tokens: int) -> tuple[Tensor, Tensor]:
        best = queries.new_full((len(queries), 0), -torch.inf)
        rows = torch.empty((len(queries), 0), dtype=torch.long, device=queries.device)
        is_token = real_tokens(queries)
        asker = is_token.nonzero()[:, 0]
        for block in self._blocks(block_tokens):
            scores = self._scores(queries[is_token], asker, len(queries), block)
            values, places = top_columns(scores, k)
            # Rows of earlier blocks come first, so a stable order keeps lower rows before equal higher ones.
            best, kept = top_columns(torch.cat([best, values], dim=1), k)
            rows = torch.cat([rows, places + block.start], dim=1).gather(1, kept)
        return best, rows

    def _scores(self, asking: Tensor, asker: Tensor, num_queries: int, block: range) -> Tensor:
        """Score all passages of a block for all queries.

        Args:
            asking: The tokens of all queries.
            asker: Whose each is.
            num_queries: How many queries there are.
            block: Which passages.
        """
        bounds = self.starts[block.start : block.stop + 1]
        tokens = torch.tensor(self.tokens[bounds[0] : bounds[-1]], device=asking.device).to(asking.dtype)
        lengths = torch.tensor(np.diff(bounds), device=asking.device)
        owner = torch.repeat_interleave(torch.arange(len(block), device=asking.device), lengths)
        products = tokens @ asking.T
        similarity = products.new_full((len(block), len(asking)), -torch.inf)
        similarity.scatter_reduce_(0, owner[:, None].expand_as(products), products, reduce="amax")
        similarity.masked_fill_((lengths == 0)[:, None], 0.0)
        return products.new_zeros(num_queries, len(block)).index_add_(0, asker, similarity.T)

    def _blocks(self, block_tokens: int) -> Iterator[range]:
        start = 0
        while start < len(self):
            stop = int(np.searchsorted(self.starts, self.starts[start] + block_tokens, side="right")) - 1
            stop = min(max(stop, start + 1), len(self))
            yield range(start, stop)
            start = stop


def write_shard(file: Path, texts: list[Float[np.ndarray, "_ dim"]]) -> None:
    """Write the token vectors of some texts, and how many each has, whole or not at all: ``file`` stands last."""
    np.save(_lengths_file(file), np.array([len(text) for text in texts], dtype=np.int64))
    unfinished = file.with_suffix(".partial.npy")
    np.save(unfinished, np.concatenate(texts).astype(np.float16))
    unfinished.rename(file)


def join_shards(shards: list[Path], folder: Path) -> Path:
    """Put finished shards together into the two files of an index, and remove them; return the file of vectors."""
    parts = [np.load(shard, mmap_mode="r", allow_pickle=False) for shard in shards]
    lengths = np.concatenate([np.load(_lengths_file(shard), allow_pickle=False) for shard in shards])
    shape = (sum(len(part) for part in parts), parts[0].shape[1])
    whole = np.lib.format.open_memmap(folder / TOKENS_FILE, mode="w+", dtype=np.float16, shape=shape)
    np.concatenate(parts, out=whole)
    whole.flush()
    np.save(folder / STARTS_FILE, np.concatenate([[0], np.cumsum(lengths)]))
    for shard in shards:
        shard.unlink()
        _lengths_file(shard).unlink()
    return folder / TOKENS_FILE


def _lengths_file(shard: Path) -> Path:
    return shard.with_suffix(".lengths.npy")
