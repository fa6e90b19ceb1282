"""Near-duplicate texts: groups by Jaccard similarity of character 5-grams, found exactly.

Method: prefix filtering. Let every text's grams be ordered by one global order, rare grams first. Two sets x and y,
|y| ≤ |x|, with Jaccard ≥ t share at least a = ⌈t/(1+t)·(|x|+|y|)⌉ grams, so the first gram they share stands among the
first |x| − ⌈t|x|⌉ + 1 of x and the first |y| − ⌈2t/(1+t)·|y|⌉ + 1 of y, and leaves at least a grams from there on in
both. Joining those prefixes therefore finds every pair: recall is 1, not a probability. What the join proposes is
thinned by a bound on the symmetric difference from parity bitmaps, and what is left is compared gram by gram.

Source: AllPairs (Bayardo, Ma and Srikant, WWW 2007) and PPJoin (Xiao et al., WWW 2008) for size, prefix and position
filters; bitmap filter (Sandes, Teodoro and Melo, Information Systems 88, 2020).

Shape letters: N texts, M distinct comparable texts in order of set size, P prefix entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from turnout.stats.boilerplate import shared_lines, without

Int = NDArray[np.int64]
Codes = NDArray[np.uint64]
Whole = TypeVar("Whole", np.int64, np.uint64)

GRAM = 5
COMMON, FEWEST = 0.05, 20  # of the texts, that hold a line which tells nothing about one of them
_BLOCK = 4_000_000  # characters coded, or pairs looked at, at once
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: spreads consecutive codes over the high bits
_MAP_BITS = 11  # of a parity bitmap: tells sets of up to some 10,000 grams apart
_SLACK = 1e-6  # widens every bound, so that rounding can only propose more


def normalise(text: str) -> str:
    """Lower case, white space folded.

    >>> normalise("  What  is\\nThis? ")
    'what is this?'
    """
    return " ".join(text.lower().split())


def grams(text: str) -> frozenset[str]:
    """The character 5-grams of a text once normalised; a shorter one is its own gram, an empty one has none."""
    text = normalise(text)
    return frozenset(text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1))) if text else frozenset()


def jaccard(a: str, b: str) -> float:
    """Shared over all character 5-grams of two texts; 0 where both are empty.

    >>> round(jaccard("Name the capital of Peru.", "name the  capital of Peru!"), 3)
    0.909
    """
    left, right = grams(a), grams(b)
    return len(left & right) / len(left | right) if left or right else 0.0


def near_duplicates(texts: Sequence[str], threshold: float = 0.9) -> Int:
    """The group (0 … G − 1, in order of first appearance) of each of N texts.

    Texts with a Jaccard similarity of at least `threshold` in (0, 1] share a group, and so do chains of them. An empty
    text is alone: nothing is known of it. Every pair is found (see the module's method) and compared exactly. Texts
    that are so much of lines shared by many (a system prompt, worked examples) that any two of them would be alike are
    compared without those lines.

    Limits: chains can join texts that are far apart, so look at the largest group. Where texts use more than 7,131
    different characters together, grams are compared by 64-bit hashes. Time grows with the pairs that nearly reach the
    threshold: in the worst case (all of them just below) with N².

    >>> near_duplicates(["Name the capital of Peru.", "name the  capital of Peru!", "Name the capital of Chile.", ""])
    array([0, 0, 1, 2])
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    first: dict[str, int] = {}
    folded = enumerate(map(normalise, _told_apart(texts, threshold)))
    same_N = np.array([first.setdefault(text, n) if text else n for n, text in folded], dtype=np.int64)
    distinct = [(text, n) for text, n in first.items() if len(text) >= GRAM]  # a shorter one equals itself only
    if len(distinct) > 1:
        at_M = np.array([n for _, n in distinct], dtype=np.int64)
        labels_M = _Join([text for text, _ in distinct], threshold).labels()
        linked_N = np.arange(len(texts))
        linked_N[at_M] = at_M[labels_M]
        same_N = linked_N[same_N]
    _, place_N, group_N = np.unique(same_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(place_N))[group_N]


def _told_apart(texts: Sequence[str], threshold: float) -> Sequence[str]:
    """The texts, and what is a text's own of those that share most of what they hold.

    Two texts of which each shares s of its characters with the other have a Jaccard similarity of s / (2 − s).
    """
    known = frozenset(shared_lines(texts, COMMON, FEWEST).tolist())
    if not known:
        return texts
    most = 2 * threshold / (1 + threshold)
    owned = ((text, without(text, known)) for text in texts)
    return [own if len(own) <= (1 - most) * len(text) else text for text, own in owned]


class _Coder:
    """Texts to gram codes: base-A numbers of five characters, A the size of the texts' alphabet."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._ends_M = np.cumsum([len(text) for text in texts])
        self.characters = int(self._ends_M[-1])
        seen = np.zeros(0x110000, dtype=bool)
        for _, _, points in self._blocks():
            seen[points] = True
        self._letter = (np.cumsum(seen) - 1).astype(np.uint64)
        size = int(seen.sum())
        self._base = np.uint64(size) if size**GRAM <= 2**64 else _MIX  # an odd multiplier makes it a hash modulo 2**64

    def counts(self, bits: int) -> Int:
        """How often each of 2**bits buckets of grams occurs (never too low, which is all that is asked of it)."""
        count = np.zeros(1 << bits, dtype=np.int64)
        for _, _, points in self._blocks():
            count += np.bincount(_bucket(self._code(points), bits), minlength=1 << bits)
        return count

    def each(self) -> Iterator[Codes]:
        """The sorted set of codes of every text in turn."""
        for start, stop, points in self._blocks():
            codes = self._code(points)
            ends = self._ends_M[start:stop] - (self._ends_M[start - 1] if start else 0)
            begin = 0
            for end in ends.tolist():
                yield _sorted_set(codes[begin : end - GRAM + 1])
                begin = end

    def one(self, text: int) -> Codes:
        """The sorted set of one text's codes."""
        return _sorted_set(self._code(_points(self._texts[text])))

    def _code(self, points: NDArray[np.uint32]) -> Codes:
        letters = self._letter[points]
        width = len(letters) - GRAM + 1
        codes = letters[:width].copy()
        for shift in range(1, GRAM):
            codes *= self._base
            codes += letters[shift : shift + width]
        return codes

    def _blocks(self) -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
        """First text, last text + 1 and their code points, for blocks of whole texts."""
        start = 0
        while start < len(self._texts):
            before = self._ends_M[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(self._ends_M, before + _BLOCK, side="right")))
            yield start, stop, _points("".join(self._texts[start:stop]))
            start = stop


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _sorted_set(values: NDArray[Whole]) -> NDArray[Whole]:
    """The distinct values in order. Sorts in place, which is several times faster than np.unique's hashing."""
    values.sort()
    keep = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return values[keep]


def _bucket(codes: Codes, bits: int) -> Int:
    return ((codes * _MIX) >> np.uint64(64 - bits)).view(np.int64)


class _Entries(NamedTuple):
    """Prefix entries in order of (gram, text): `gram_P` is dense, `place_P` the gram's place in its text's order."""

    gram_P: Int
    text_P: Int
    place_P: Int

    def take(self, index: NDArray[np.bool_] | Int) -> _Entries:
        return _Entries(self.gram_P[index], self.text_P[index], self.place_P[index])


class _Join:
    """The similarity join over M distinct normalised texts of at least five characters.

    Texts are numbered by size of their gram set throughout, so that of two numbers the lower one is the smaller set.
    """

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._threshold = threshold
        self._share = threshold / (1 + threshold)  # of |x| + |y|: what a similar pair has in common at least
        self._coder = _Coder(texts)
        self._codes, self._places, size_M, map_MW = self._prefixes(len(texts))
        self._order_M = np.argsort(size_M, kind="stable")
        self._rank_M = np.argsort(self._order_M)
        self._size_M, self._map_MW = size_M[self._order_M], map_MW[self._order_M]
        self._parent = list(range(len(texts)))
        self._sets: dict[int, Codes] = {}
        self._held = 0

    def labels(self) -> Int:
        """A representative of each text's group, both as numbers of the given texts."""
        for entries in self._parts():
            limit_M = self._size_M - _ceil(2 * self._share * self._size_M) + 1
            index = entries.take(entries.place_P < limit_M[entries.text_P])
            probes, low_P, high_P = self._ranges(entries, index)
            self._link(probes.text_P, index.text_P[high_P - 1])  # nearest in size first: most groups close on it
            self._link_ranges(probes, low_P, high_P, index)
        labels_M = np.empty(len(self._order_M), dtype=np.int64)
        labels_M[self._order_M] = self._order_M[self._roots()]
        return labels_M

    def _prefixes(self, texts: int) -> tuple[list[Codes], list[NDArray[np.int32]], Int, Codes]:
        """Each text's prefix grams and their places, set sizes, and parity bitmaps of shape (M, words).

        Grams that occur once in all texts are left out: nothing can be shared through them.
        """
        bits = _bits(self._coder.characters)
        rarity = np.minimum(self._coder.counts(bits), 65535).astype(np.uint16)  # 16 bits sort fastest
        size_M = np.zeros(texts, dtype=np.int64)
        map_MW = np.zeros((texts, (1 << _MAP_BITS) // 64), dtype=np.uint64)
        prefixes: list[Codes] = []
        places: list[NDArray[np.int32]] = []
        for n, codes in enumerate(self._coder.each()):
            size_M[n] = len(codes)
            bucket_P = _bucket(codes, bits)
            odd = np.bincount(bucket_P & ((1 << _MAP_BITS) - 1), minlength=1 << _MAP_BITS).astype(np.uint8)
            map_MW[n] = np.packbits(odd & 1).view(np.uint64)
            rarity_P = rarity[bucket_P]
            order_P = rarity_P.argsort(kind="stable")  # ties by code: the order is the same in every text
            order_P = order_P[: len(codes) - math.ceil(self._threshold * len(codes) - _SLACK) + 1]
            (place_P,) = (rarity_P[order_P] > 1).nonzero()
            prefixes.append(codes[order_P[place_P]])
            places.append(place_P.astype(np.int32))
        return prefixes, places, size_M, map_MW

    def _parts(self) -> Iterator[_Entries]:
        """The entries of grams that stand in more than one prefix, a share of the grams at a time to bound memory."""
        text_P = np.repeat(self._rank_M.astype(np.int32), [len(codes) for codes in self._codes])
        code_P, place_P = np.concatenate(self._codes), np.concatenate(self._places)
        self._codes, self._places = [], []
        parts = len(code_P) // (_BLOCK // 2) + 1
        part_P = ((code_P * _MIX) >> np.uint64(32)).astype(np.uint32) % np.uint32(parts)
        for part in range(parts):
            (at_P,) = (part_P == part).nonzero()
            at_P = at_P[np.lexsort((text_P[at_P], code_P[at_P]))]
            fresh_P = np.ones(len(at_P), dtype=bool)
            np.not_equal(code_P[at_P[1:]], code_P[at_P[:-1]], out=fresh_P[1:])
            gram_P = np.cumsum(fresh_P) - 1
            shared_P = np.bincount(gram_P)[gram_P] > 1
            at_P, gram_P = at_P[shared_P], gram_P[shared_P]
            yield _Entries(gram_P, text_P[at_P].astype(np.int64), place_P[at_P].astype(np.int64))

    def _ranges(self, entries: _Entries, index: _Entries) -> tuple[_Entries, Int, Int]:
        """For each probing entry the part [low, high) of the index with the same gram and a fitting, smaller size."""
        texts, size_P = len(self._size_M), self._size_M[entries.text_P]
        least_P = np.searchsorted(self._size_M, _ceil(self._threshold * size_P))
        most_P = np.floor((size_P - entries.place_P) / self._share - size_P + _SLACK)
        beyond_P = np.minimum(np.searchsorted(self._size_M, most_P, side="right"), entries.text_P)
        keys = index.gram_P * texts + index.text_P
        low_P = np.searchsorted(keys, entries.gram_P * texts + least_P)
        high_P = np.searchsorted(keys, entries.gram_P * texts + beyond_P)
        some_P = high_P > low_P
        return entries.take(some_P), low_P[some_P], high_P[some_P]

    def _link_ranges(self, probes: _Entries, low_P: Int, high_P: Int, index: _Entries) -> None:
        """Look at every pair of every range whose texts are not linked yet, block by block."""
        open_P = self._open(probes, low_P, high_P, index)
        probes, low_P, high_P = probes.take(open_P), low_P[open_P], high_P[open_P]
        ends_P = np.cumsum(high_P - low_P)
        start = 0
        while start < len(ends_P):
            before = ends_P[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends_P, before + _BLOCK // 4, side="right")))
            part = np.arange(start, stop)
            part = part[self._open(probes.take(part), low_P[part], high_P[part], index)]
            length_P = high_P[part] - low_P[part]
            x_R = np.repeat(probes.text_P[part], length_P)
            skip_P = low_P[part] - np.cumsum(length_P) + length_P
            at_R = np.arange(len(x_R)) + np.repeat(skip_P, length_P)
            y_R, roots_M = index.text_P[at_R], self._roots()
            size_R = self._size_M[y_R]
            near_R = self._size_M[x_R] <= (size_R - index.place_P[at_R]) / self._share - size_R + _SLACK
            near_R &= roots_M[x_R] != roots_M[y_R]
            self._link(x_R[near_R], y_R[near_R])
            start = stop

    def _open(self, probes: _Entries, low_P: Int, high_P: Int, index: _Entries) -> NDArray[np.bool_]:
        """Which ranges hold a text that is not yet linked to the probing one; one look per range."""
        roots_M = self._roots()
        root_I = roots_M[index.text_P]
        run_I = np.cumsum(np.concatenate([[0], root_I[1:] != root_I[:-1]]))
        closed_P = (run_I[low_P] == run_I[high_P - 1]) & (root_I[low_P] == roots_M[probes.text_P])
        return np.asarray(~closed_P, dtype=np.bool_)

    def _link(self, x_R: Int, y_R: Int) -> None:
        """Link those of R proposed pairs that are similar."""
        texts = len(self._size_M)
        pairs = _sorted_set(x_R * texts + y_R)
        for start in range(0, len(pairs), _BLOCK // 16):
            x_B, y_B = np.divmod(pairs[start : start + _BLOCK // 16], texts)
            unlike_B = np.bitwise_count(self._map_MW[x_B] ^ self._map_MW[y_B]).sum(axis=1, dtype=np.int64)
            most_B = (1 - 2 * self._share) * (self._size_M[x_B] + self._size_M[y_B]) + _SLACK
            keep_B = unlike_B <= most_B
            for x, y in zip(x_B[keep_B].tolist(), y_B[keep_B].tolist(), strict=True):
                a, b = self._root(x), self._root(y)
                if a != b and self._similar(x, y):
                    self._parent[a] = b

    def _similar(self, x: int, y: int) -> bool:
        large, small = self._set(x), self._set(y)
        at = np.searchsorted(large, small)
        at[at == len(large)] = 0
        shared = int(np.count_nonzero(large[at] == small))
        return shared / (len(large) + len(small) - shared) >= self._threshold

    def _set(self, text: int) -> Codes:
        if text not in self._sets:
            if self._held > _BLOCK:
                self._sets.clear()
                self._held = 0
            self._sets[text] = self._coder.one(int(self._order_M[text]))
            self._held += len(self._sets[text])
        return self._sets[text]

    def _root(self, text: int) -> int:
        parent = self._parent
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    def _roots(self) -> Int:
        roots_M = np.array(self._parent)
        while ((further_M := roots_M[roots_M]) != roots_M).any():
            roots_M = further_M
        return roots_M


def _bits(things: int) -> int:
    """Enough for a table of buckets in which most of so many things are alone, within 128 MiB."""
    return min(24, max(16, things.bit_length() + 1))


def _ceil(values: NDArray[Any]) -> Int:
    return np.asarray(np.ceil(values - _SLACK), dtype=np.int64)
