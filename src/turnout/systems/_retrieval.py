"""Retrievers as experts: collections with relevance judgements, ways to search them, and nDCG@10 of each query.

Collections: Cranfield (abstracts) and the ten dialogues of LoCoMo (turns that hold the evidence of a question). CISI is
not used: the copy at hand holds a word-overlap ranking in the place of judgements (BM25 reaches an nDCG of 1.00 on it).
Shape letters: Q queries, M documents, E retrievers, D embedding columns.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.base import Estimator
from turnout.evaluation import datasets
from turnout.features import Floats
from turnout.systems._compare import Arena
from turnout.systems.base import Figures, Run

RETRIEVERS = ("bm25", "two rounds", "dense", "hybrid")
DEPTH = 10
FEEDBACK, TERMS, ADDED = 3, 10, 0.4  # documents and words that the second round learns from, and their weight
_WORDS = re.compile(r"[a-z0-9]+").findall


@dataclass(frozen=True)
class Corpus:
    """Documents, queries and the relevant documents of each query (positions)."""

    name: str
    family: str
    documents: Sequence[str]
    queries: Sequence[str]
    relevant: Sequence[frozenset[int]]


@dataclass(frozen=True)
class Searched:
    """All queries of all corpora: nDCG@10 per retriever (Q, E), and features that do not look at the judgements."""

    queries: Sequence[str]
    families: Sequence[str]
    score_QE: Floats
    features: Mapping[str, Floats]


def corpora(data: Path | str | None) -> list[Corpus]:
    """What the folder of tables holds of cranfield and locomo. Raises LogError where it holds neither."""
    home = datasets.folder(data)
    found = [*_cranfield(home / "cranfield"), *_dialogues(home / "locomo" / "locomo10.json")]
    if not found:
        raise LogError(f"{home}: neither a cranfield nor a locomo collection")
    return found


def searched(found: Sequence[Corpus]) -> Searched:
    """Every retriever asked every query that has a relevant document."""
    parts = [_search(corpus) for corpus in found]
    return Searched(
        queries=[query for corpus in found for query in corpus.queries],
        families=[corpus.family for corpus in found for _ in corpus.queries],
        score_QE=np.concatenate([score_QE for score_QE, _, _ in parts]),
        features={
            "embedding": np.concatenate([embedding_QD for _, embedding_QD, _ in parts]),
            "search": np.concatenate([search_QF for _, _, search_QF in parts]),
        },
    )


def _search(corpus: Corpus) -> tuple[Floats, Floats, Floats]:
    encoder = registry.create("signal", "embedding")
    text_MD = np.asarray(encoder.fit(corpus.documents).transform(list(corpus.documents)))
    query_QD = np.asarray(encoder.transform(list(corpus.queries)))
    words = _Words(corpus.documents)
    near_QM = query_QD @ text_MD.T
    shape_F = _shape(text_MD, words)
    score_QE, search_QF = [], []
    for query, near_M, relevant in zip(corpus.queries, near_QM, corpus.relevant, strict=True):
        asked = Counter(_terms(query))
        word_M = words.scores(asked)
        both_M = 1.0 / (60 + _rank(word_M)) + 1.0 / (60 + _rank(near_M))  # reciprocal rank fusion
        lists = [_best(scores_M) for scores_M in (word_M, words.scores(words.widened(asked, word_M)), near_M, both_M)]
        score_QE.append([_ndcg(top, relevant) for top in lists])
        search_QF.append([*_facts(words, asked, word_M, near_M, lists), *shape_F])
    return np.array(score_QE), query_QD, np.array(search_QF, dtype=np.float32)


class _Words:
    """BM25 (Robertson and Zaragoza, 2009; k1 1.2, b 0.75) over an inverted index."""

    def __init__(self, documents: Sequence[str]) -> None:
        counted = [Counter(_terms(text)) for text in documents]
        self.counted = counted
        length_M = np.array([sum(counts.values()) for counts in counted], dtype=np.float64)
        self.mean_length = float(length_M.mean())
        self.norm_M = 1.2 * (0.25 + 0.75 * length_M / max(self.mean_length, 1.0))
        holders: dict[str, list[tuple[int, int]]] = {}
        for place, counts in enumerate(counted):
            for word, count in counts.items():
                holders.setdefault(word, []).append((place, count))
        self.holders = {word: np.array(entries).T for word, entries in holders.items()}
        many = len(documents)
        self.rarity = {
            word: float(np.log(1.0 + (many - at.shape[1] + 0.5) / (at.shape[1] + 0.5)))
            for word, at in self.holders.items()
        }

    def scores(self, asked: Mapping[str, float]) -> Floats:
        score_M = np.zeros(len(self.norm_M))
        for word, weight in asked.items():
            if word in self.holders:
                place, count = self.holders[word]
                score_M[place] += weight * self.rarity[word] * count * 2.2 / (count + self.norm_M[place])
        return score_M

    def widened(self, asked: Mapping[str, float], score_M: Floats) -> dict[str, float]:
        """The query with the telling words of its first results: pseudo-relevance feedback."""
        told: Counter[str] = Counter()
        for place in _best(score_M)[:FEEDBACK]:
            told.update(self.counted[place])
        telling = sorted(told, key=lambda word: (-told[word] * self.rarity[word], word))[:TERMS]
        return {**dict.fromkeys(telling, ADDED), **{word: float(weight) for word, weight in asked.items()}}


def _facts(
    words: _Words, asked: Mapping[str, float], word_M: Floats, near_M: Floats, lists: Sequence[NDArray[np.intp]]
) -> list[float]:
    """What the first results tell of a query, judgements aside: how sure each search is and whether they agree."""
    rarity = [words.rarity[word] for word in asked if word in words.rarity] or [0.0]
    word_top, near_top = np.sort(word_M)[::-1][:DEPTH], np.sort(near_M)[::-1][:DEPTH]
    return [
        float(np.log1p(len(asked))),
        len(rarity) / max(len(asked), 1),
        float(np.mean(rarity)),
        float(np.max(rarity)),
        float(word_top[0] / max(len(asked), 1)),
        float((word_top[0] - word_top[-1]) / max(word_top[0], 1e-9)),
        float(near_top[0]),
        float(near_top[0] - near_top[-1]),
        len(set(lists[0].tolist()) & set(lists[2].tolist())) / DEPTH,
        float(lists[0][0] == lists[2][0]),
    ]


def _shape(text_MD: Floats, words: _Words) -> list[float]:
    """Of the corpus: size, length of its texts, intrinsic dimension (TwoNN, Facco et al., 2017) and hubness."""
    similar_MM = text_MD @ text_MD.T
    np.fill_diagonal(similar_MM, -np.inf)
    near_MK = np.argpartition(-similar_MM, DEPTH, axis=1)[:, :DEPTH]
    hits_M = np.bincount(near_MK.ravel(), minlength=len(text_MD)).astype(np.float64)
    two_M2 = np.sqrt(np.maximum(2.0 - 2.0 * -np.sort(-similar_MM, axis=1)[:, :2], 1e-12))
    ratio_M = np.log(np.maximum(two_M2[:, 1] / two_M2[:, 0], 1.0 + 1e-6))
    skew = float(((hits_M - hits_M.mean()) ** 3).mean() / max(hits_M.std() ** 3, 1e-9))
    return [float(np.log(len(text_MD))), float(np.log1p(words.mean_length)), 1.0 / float(np.median(ratio_M)), skew]


def _terms(text: str) -> list[str]:
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in _WORDS(text.lower())]


def _rank(score_M: Floats) -> NDArray[np.intp]:
    return np.argsort(np.argsort(-score_M, kind="stable"), kind="stable")


def _best(score_M: Floats) -> NDArray[np.intp]:
    return np.argsort(-score_M, kind="stable")[:DEPTH]


def _ndcg(top: NDArray[np.intp], relevant: frozenset[int]) -> float:
    """Binary gains."""
    discount = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    hits = np.array([place in relevant for place in top.tolist()])
    return float(discount[: len(hits)] @ hits / discount[: min(len(relevant), DEPTH)].sum())


def _cranfield(folder: Path) -> list[Corpus]:
    """Records that open with `.I`, their text after `.T` and `.W`; judgements count queries by their order."""
    paths = [folder / name for name in ("cran.all.1400", "cran.qry", "cranqrel")]
    if not all(path.is_file() for path in paths):
        return []
    texts, asked = (_records(path) for path in paths[:2])
    place = {number: at for at, number in enumerate(texts)}
    judged: dict[int, set[int]] = {}
    for line in paths[2].read_text(encoding="latin-1").splitlines():
        query, document, *_ = line.split()
        if document in place:
            judged.setdefault(int(query), set()).add(place[document])
    kept = [(text, frozenset(judged[order])) for order, text in enumerate(asked.values(), start=1) if order in judged]
    relevant = [documents for _, documents in kept]
    return [Corpus("cranfield", "cranfield", list(texts.values()), [text for text, _ in kept], relevant)]


def _records(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in re.split(r"(?m)^\.I\s+", path.read_text(encoding="latin-1"))[1:]:
        number, _, rest = record.partition("\n")
        fields = dict(re.findall(r"(?ms)^\.([A-Z])[^\n]*\n(.*?)(?=^\.[A-Z]|\Z)", rest))
        found[number.strip().lstrip("0")] = " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split())
    return found


def _dialogues(path: Path) -> list[Corpus]:
    """LoCoMo: a corpus per dialogue, a document per turn, the evidence turns relevant."""
    if not path.is_file():
        return []
    found = []
    for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        talk = entry["conversation"]
        turns = [
            turn for key, said in talk.items() if isinstance(said, list) and key.startswith("session_") for turn in said
        ]
        place = {turn["dia_id"]: at for at, turn in enumerate(turns)}
        asked = [
            (one["question"], frozenset(place[mark] for mark in one.get("evidence", ()) if mark in place))
            for one in entry["qa"]
        ]
        asked = [(question, relevant) for question, relevant in asked if relevant]
        texts = [f"{turn['speaker']}: {turn['text']}" for turn in turns]
        found.append(
            Corpus(f"locomo {number}", "locomo", texts, [question for question, _ in asked], [r for _, r in asked])
        )
    return found


def judged(run: Run, rivals: Mapping[str, Estimator], unseen: Sequence[str] = ()) -> Figures:
    """nDCG@10 of estimators that choose a retriever, five-fold, the first as the headline.

    Those named in `unseen` are also measured on families of collections that they were not fitted on.
    """
    found = searched(corpora(run.data))
    arena = Arena.of(found.queries, found.features, found.score_QE, found.families)
    splits = arena.splits(run.seeds)
    values = {}
    for done, (name, estimator) in enumerate(rivals.items(), start=1):
        values[name] = arena.routed(estimator, splits)
        if run.tick:
            run.tick(done, len(rivals))
    away = arena.without_each_task()
    for name in unseen:
        values[f"{name}, collection family unseen"] = arena.routed(rivals[name], away)
    values |= {**arena.baselines(splits), "best single, family unseen": arena.baselines(away)["best single"]}
    values |= {f"always {name}": found.score_QE[:, place] for place, name in enumerate(RETRIEVERS)}
    first = values[next(iter(rivals))]
    names = ", ".join(f"{found.families.count(family):,} of {family}" for family in dict.fromkeys(found.families))
    return Figures(
        table="cranfield and locomo",
        protocol=f"five folds by groups of near-duplicates, {len(run.seeds)} seeds; queries: {names}",
        metric="nDCG@10",
        value=arena.mean(first),
        gain=arena.gain(first, values["best single"]),
        against="best single",
        rows=arena.rows(values, "nDCG@10", "best single"),
    )
