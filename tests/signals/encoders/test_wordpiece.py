"""Ids equal those of the `tokenizers` package with BERT's normaliser, splitter and vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from turnout.signals.encoders.static import StaticEncoder, load
from turnout.signals.encoders.wordpiece import WordPiece, bag, words


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return load("minilm")


@pytest.fixture(scope="module")
def reference(encoder: StaticEncoder) -> Tokenizer:
    made = Tokenizer(models.WordPiece(dict(encoder.vocabulary), unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = BertNormalizer()
    made.pre_tokenizer = BertPreTokenizer()
    return made


@pytest.mark.parametrize(
    "text",
    [
        "Don't panic: it's 42% of $1,000.50 (or [x_1] {y}) — 'tis <b>so</b> & ~more|less^2!",
        "unaffable antidisestablishmentarianism tokenization xyzzyqwv",
        "a\x00b\x01c\td\x0be\x0cf\rg\x7fh",
        "Ünïcödé naïve Ångström İstanbul ﬁne",
        "如何对列表进行排序？ 日本語のテキスト 한국어",
        "[SEP] [CLS] [MASK] [UNK] [PAD]",
        "x" * 100 + " " + "x" * 101 + " " + "é" * 101,
        "emoji 🙂👩‍👩‍👧 and\u200bzero\u00a0width\u2028line\ufffd",
        "\ud800 alone",
        "",
        " \n\t ",
    ],
)
def test_chosen_texts(encoder: StaticEncoder, reference: Tokenizer, text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()
    assert encoder.ids(text) == reference.encode(whole, add_special_tokens=False).ids


@settings(deadline=None, max_examples=400)
@given(text=st.text(max_size=60) | st.text(st.characters(max_codepoint=127), max_size=120))
def test_any_text(encoder: StaticEncoder, reference: Tokenizer, text: str) -> None:
    assert encoder.ids(text) == reference.encode(text, add_special_tokens=False).ids


def test_real_prompts(encoder: StaticEncoder, reference: Tokenizer, shared_data: Path) -> None:
    polars = pytest.importorskip("polars")
    for table in ("nine_llm", "seven_llm"):
        prompts = polars.read_parquet(shared_data / table / "queries.parquet")["prompt"].to_list()[::7]
        encodings = reference.encode_batch(prompts, add_special_tokens=False)
        for prompt, encoding in zip(prompts, encodings, strict=True):
            assert encoder.ids(prompt) == encoding.ids


def test_accents_are_stripped_and_case_is_folded() -> None:
    assert words("ÀÉ") == ["ae"]


def test_the_longest_piece_wins() -> None:
    pieces = WordPiece({"[UNK]": 0, "un": 1, "una": 2, "##able": 3, "##a": 4, "##ble": 5})
    assert pieces.ids("unable") == [2, 5]
    assert pieces.ids("unx") == [0]
    assert pieces.ids("able") == [0]


@settings(deadline=None)
@given(text=st.text(max_size=60) | st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
def test_a_bag_holds_the_words(text: str) -> None:
    assert sorted(bag(text)) == sorted(words(text))
