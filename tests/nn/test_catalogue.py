from __future__ import annotations

import re

from turnout import registry
from turnout.nn import KINDS
from turnout.nn.catalogue import markdown, parts


def test_every_part_says_in_a_sentence_what_it_is() -> None:
    found = parts()
    assert [(e.kind, e.name) for e in found] == [(kind, name) for kind in KINDS for name in registry.names(kind)]
    assert not [entry for entry in found if len(entry.what) < 20]


def test_the_page_is_one_table_per_kind_with_four_cells_a_row() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(parts())
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
