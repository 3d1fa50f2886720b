"""Dropout set to 0 must leave nothing to chance, whatever kind of model."""

import pytest
import torch

from dogeared.training.dropout import set_dropout
from tiny_readers import PASSAGES, QUESTIONS, tiny_reader


@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_without_dropout_training_mode_repeats_itself(kind, tmp_path):
    reader = tiny_reader(kind, tmp_path).train()
    batch = reader.batch(QUESTIONS[:2], [PASSAGES, PASSAGES[:1]], answers=["red", "green fox"])
    set_dropout(reader, 0.5)
    assert reader(batch).item() != reader(batch).item()
    set_dropout(reader, 0.0)
    assert reader(batch).item() == reader(batch).item()
    with torch.inference_mode():
        trained, evaluated = reader(batch), reader.eval()(batch)
    torch.testing.assert_close(trained, evaluated)
