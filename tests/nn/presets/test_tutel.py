from __future__ import annotations

from turnout.nn.presets.tutel import TUTEL
from turnout.systems.base import Run


def test_dropless_after_switching_is_dense_and_a_fixed_capacity_drops() -> None:
    found = TUTEL.run(Run(None, "", (0, 1, 2)))
    rows = {row["name"]: row for row in found.rows}
    for name in ("dropless after switching (f = 0)", "dropless, ragged rows", "grouped product"):
        assert float(rows[name]["difference to dense"] or 0) < 1e-5
        assert rows[name]["dropped"] == 0
    fixed = rows["fixed capacity f = 1"]
    assert float(fixed["dropped"] or 0) > 0.02
    assert float(fixed["rows per chosen"] or 0) == 1.0
    assert found.verdict == "reproduced"
