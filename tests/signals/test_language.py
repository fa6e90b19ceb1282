from __future__ import annotations

import numpy as np
import pytest

from turnout.signals.language import COLUMNS, SCRIPTS, Language


def seen(text: str) -> dict[str, float]:
    return dict(zip(COLUMNS, Language().transform([text])[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("latin", "Straße, naïve café"),
        ("greek", "Τι ώρα είναι;"),
        ("cyrillic", "Который час?"),
        ("hebrew", "מה השעה?"),
        ("arabic", "كم الساعة؟"),
        ("indic", "क्या समय हुआ है?"),
        ("thai", "กี่โมงแล้ว"),
        ("hangul", "지금 몇 시예요?"),
        ("kana", "いまなんじですか"),
        ("han", "现在几点了"),
        ("other", "ሰላም"),
    ],
)
def test_letters_are_counted_by_script(script: str, text: str) -> None:
    row = seen(text)
    assert row[script] == pytest.approx(1.0)
    assert sum(row[name] for name in SCRIPTS) == pytest.approx(1.0)


def test_mixed_scripts_share() -> None:
    row = seen("abc где")
    assert row["latin"] == row["cyrillic"] == pytest.approx(0.5)


def test_no_letters_give_no_script() -> None:
    assert not np.any(Language().transform(["12 + 34 = ? 🙂", ""]))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "what is the name of the president of that country"),
        ("de", "wie heißt der Präsident und was ist mit dem Kanzler"),
        ("fr", "quel est le nom du président et de la ville dans ce pays"),
        ("es", "cuál es el nombre del presidente y de la ciudad en ese país"),
        ("pt", "qual é o nome do presidente e da cidade em que ele não mora"),
        ("it", "qual è il nome del presidente e della città in cui non vive"),
        ("nl", "wat is de naam van het land en van de koning"),
    ],
)
def test_common_words_point_to_their_language(language: str, text: str) -> None:
    row = seen(text)
    assert max(COLUMNS[len(SCRIPTS) :], key=row.__getitem__) == language
