"""An encoding that ends in its midst, for tests of what goes on from there."""

import pytest

from dogeared.retrieval.dense import encode_corpus


def encode_until_the_disk_is_gone(encoder, corpus, folder, settings, monkeypatch) -> list[int]:
    """Encode two shards; return how many passages each call of the encoder got, a list that later calls add to."""
    make, asked, gone = encoder.passage_chunks, [], [True]

    def noting(passages, **rest):
        if gone and len(asked) == 2:
            raise OSError("the disk is gone")
        asked.append(len(passages))
        return make(passages, **rest)

    monkeypatch.setattr(encoder, "passage_chunks", noting)
    with pytest.raises(OSError, match="the disk is gone"):
        encode_corpus(encoder, corpus, folder, settings)
    gone.clear()
    return asked
