"""Make the two small models that the package ships for its demo.

    python scripts/make_demo_models.py                  # both, about 20 minutes on two quiet cores
    python scripts/make_demo_models.py --only encoder

Both are made from generated text about other people than the demo's: the ``pretraining`` worlds of
``dogeared.data.encyclopedia``, which share no surname with the ``demo`` world. Everything is drawn from one seed.

The tokenizers are trained on passages and, apart from them, on questions.

The encoder (a BERT of 1 million parameters) sees text alone. First it learns hidden words; then pairs of crops from
texts about the same person, which must find each other among the crops of a batch; then pairs of a sentence that lost
its answer and the passage of another edition that says the same. It never sees a question or an answer.

The reader (a T5 of 1 million parameters) learns cloze questions made from text: the line of an infobox or a sentence
of one edition of the encyclopedia loses its answer, as in salient-span masking, and the reader writes it from passages
of another edition, which says the same in other words. It begins with the few words around the answers of two passages
and ends with twelve whole passages, some about strangers of whom the same is told. Six of ten are no clozes but
questions in the demo's own templates, about the other people: the templates take longer to learn than the demo's few
minutes. It meets nobody of the demo, and is never told which passage holds an answer.

Three things were found to decide whether it learns at all. Heads of the encoder begin as the word before, the word
after and the same word elsewhere: then copying appears within 200 steps instead of 1,500. From the first step there is
more than one answer to choose from: a reader that first learns to copy the only answer ignores questions for good. And
it is asked beside every step whether a passage is about the person in the question; without that it never looks at
names.

The weights that are shipped were made by these phases in several sittings; a run of this script makes models of the
same kind, not the same numbers.

Source: Izacard et al., "Unsupervised Dense Information Retrieval with Contrastive Learning", TMLR 2022 (crops); Guu et
al., "REALM: Retrieval-Augmented Language Model Pre-Training", ICML 2020 (salient-span masking).
"""

import argparse
import logging
from pathlib import Path

import torch

from demo_common import NUM_PEOPLE, NUM_WORLDS, SEED, make_worlds
from demo_encoder import make_encoder
from demo_reader import make_reader

OUT = Path(__file__).parent.parent / "src" / "dogeared" / "demo"


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description="Make the models that the demo ships.")
    parser.add_argument("--only", choices=["reader", "encoder"], help="make one of the two")
    parser.add_argument("--phase", type=int, default=0, help="go on with the reader in --out from this phase, from 0")
    parser.add_argument("--out", type=Path, default=OUT, help="where the folders reader/ and encoder/ go")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    worlds = make_worlds(range(NUM_WORLDS), num_people=NUM_PEOPLE)
    held_out = make_worlds(range(NUM_WORLDS, NUM_WORLDS + 1), num_people=NUM_PEOPLE)
    torch.manual_seed(SEED)
    if arguments.only != "encoder":
        make_reader(worlds, held_out, arguments.out / "reader", arguments.phase)
    torch.manual_seed(SEED)
    if arguments.only != "reader":
        make_encoder(worlds, held_out, arguments.out / "encoder")


if __name__ == "__main__":
    main()
