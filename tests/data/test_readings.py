"""What is read with a question, with and without the passage that the question was made from."""

from dataclasses import replace

from tiny_readers import tiny_readings


def test_the_source_is_passed_over_and_the_next_one_read(tmp_path):
    plain = tiny_readings(tmp_path, num_passages=2)
    ranked = plain.rankings["q4"].passage_ids
    assert len(ranked) == 4
    questions = [replace(question, gold=(ranked[0],)) for question in plain.questions]
    index = 4
    assert replace(plain, questions=questions).passage_ids(index) == ranked[:2]
    without = replace(plain, questions=questions, leave_out_gold=True)
    assert without.passage_ids(index) == ranked[1:3]
    assert [passage.id for passage in without.passages(index)] == list(ranked[1:3])
    assert without.passage_ids(0) == without.passage_ids(6) == ()
