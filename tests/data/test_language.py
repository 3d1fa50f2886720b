"""Languages without blanks between words are told from the others, and Chinese from Japanese."""

import json
from pathlib import Path

import pytest

from dogeared.data.language import DetectedLanguage, detect_language

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"


@pytest.mark.parametrize(
    ("texts", "language", "share"),
    [
        (["Where was she born?"], "en", 0.0),
        (["Où est-elle née ?", "Где она родилась?", "그녀는 어디에서 태어났습니까"], "en", 0.0),
        (["她在哪里出生"], "zh", 1.0),
        (["彼女はどこで生まれましたか"], "ja", 1.0),
        (["NFL 联盟 有多少 支 球队"], "zh", 4 / 5),  # eight characters are four words, NFL is one
        (["Who wrote 红楼梦 in the Qing period?"], "en", 1.5 / 7.5),
        (["アニメ『となりのトトロ』在中国哪一年上映 票房是多少"], "ja", 1.0),
        (["《火影忍者》的主角鸣人(ナルト)出生于哪一个忍者村 他的父亲和母亲分别叫什么名字"], "zh", 1.0),
        (["1998", "..."], "en", 0.0),
        ([], "en", 0.0),
    ],
)
def test_what_is_found(texts, language, share):
    assert detect_language(texts) == DetectedLanguage(language=language, share=pytest.approx(share))


@pytest.mark.parametrize(
    ("name", "language"), [("cmrc2018", "zh"), ("xquad_zh", "zh"), ("xquad_en", "en"), ("wiki_en", "en")]
)
def test_real_questions(name, language):
    file = DATA / name / "questions.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = detect_language(text for row in rows for text in (row["question"], *row["answers"]))
    assert found.language == language
    assert found.share > 0.9 if language == "zh" else found.share < 0.01
