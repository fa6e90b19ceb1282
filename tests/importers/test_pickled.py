"""Tables in pandas pickles, read as data; the made table below was pickled by three versions of pandas."""

from __future__ import annotations

import base64
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from turnout.errors import ConfigError, LogError
from turnout.importers import _pickled, load
from turnout.importers.routerbench import RouterBench

PICKLED = {  # by version of pandas, compressed
    "1.5.3": (
        "eNptU81OFEEQ3ll25De6EEVJ1OzFsBAd40WNMawRo+KENSExHoR0emZ6dybMX7p7RBKIegAh6Zsl7+AD+AS+iFFvXvTGDat7dnUh"
        "9KGrqruquuqrr9/Zn6ZrFbPUZE7TgArHzzhzOpwmDNToIyrpY6N/hLn3sA1NVSNJl4O6OugepZLxlMbCSWhKu4wLUBMP48xfXy5t"
        "DFfTvQgSR574HwLqHCnSPPLXY0Y8HaOdp9IiyTfL7KgyHvmgxkmHZ4lXdDomY/PgQeW0dfi2lL9bpfzW+hP+2Pty+HMhuvJiuV4c"
        "LdxYvPzr++35VinvtUDZ5j2UgdzMdbeq2rkL+3sfYAWa7pCy7kO73X52hMtsbkWC59bc6i4oaxEkuqkRr4hiGaXYki3iyNdp3CF3"
        "2LV0Freq93BcXRhoLSkwgHJO8ekJwpmfpULywpcYGtbVMAJmLjFRZQcWLQ/Kgqzy6XBKVZ8fK3PrRJktLHN/DcdmU+47t0CdSbw8"
        "d+6Amnw1+zST1xsZX03TTLZm13DeL3kkWePrZwfUEAaAqml3NDaZgDbDZOHZ5kHjBOBWT1Z7crgnTX3RQH3h9Gkg7kA4I/8htAu6"
        "3EvH6RWwN0w4HhVIyjGSsg2ypM80Sk+U3dcNPQOkLITXwlmNWDjXx2sEjZsGiVFBkxy5FgWIRo6EyiV2zl7TmKSG9bZIaByjjCnv"
        "ol039pbMJLr4mUD3urk6dnS+PEqygMU4SZHjKBloyFTN5G0Xu5oAS2rmtN44TfVbYytaDjQUrraxIEm5RAqompBZjkBphaFimZxM"
        "b/gxkbrYiQag/39JwiQ1iOB0bSol/sxtbJt0Yto16kVsLdsQJChypCyVjMTUY/gt90ThOX8BmvSRjA=="
    ),
    "2.2.3": (
        "eNptU81OFEEQ3ll25De6qFkhUcPFsBAd40WNMawRo+KENSExHoR0emZ6dybMX7p7RBKIegAh6Zsl7+AD+AS+iFFvXvTGDat7dnUh"
        "9KGrqruquuqrr9/Zn6ZqFbPUZE7TgArHzzhzOpwmDNToIyrpY6N/hLn3sA1NVSNJl4O6OugepZLxlMbCSWhKu4wLUBMP48xfXy5t"
        "DFeNXgSJI0/8DwF1jhRpHvnrMSOejtHOF9IiyTcdYtKjznjkgxonHZ4lXtHpmJTNgweV09bh21L+bpXyW+tP+GPvy+HPhejKi+V6"
        "cbRwY/Hyr++351ulvNcCZZsHUQZyM9ftqmrnLuzvfYAVaLpDyroP7Xb72REus7kVCZ5bc6u7oKxFkOimRrwiimWUYk+2iCNfp3GH"
        "3GHX0lncqt7DcdUY7C0pMIJyTvHtCcKZn6VC8sKXGBvW1TBCZi4xU2UHFi0Pyoqs8u3wvKo+P1bn1ok6W1jn/hoOzqbcd26BOpN4"
        "ee7cATX5avZpJq/PZHw1TTPZml3Dib/kkWQzXz87oIYwAFRNu6OxyQS0GSYLzzYPZk4gbvVktSeHe9LUFw3UFzZOQ3EHwmn5D6Jd"
        "0OVOHSdYwN4w4XhUIC3HSMo2yJI+0yg9UXZfNwQNkLQQXgtnNWLhXB+vETRuGiRGBU1yZFsUIBo5MiqX2Dl7TWOSGt7bIqFxjDKm"
        "vIt23dhbMpPo4mcC3evm6tjRxfIoyQIW4yRFjqNkoCFTNZO3XexqBiyp6dN64zTVb42taDnQULjaxoIk5RIpoGpCZjkCpRWGimVy"
        "Mr3h10TuYicagP4PJgmT1CCC07WplPg3t7Ft0olp16iXsLVsQ5CgyJGzVDISU4/hx9wThef8Bb1Qkk4="
    ),
    "3.0.0": (
        "eNqtVE1PFDEY3l1m+PQDgqKJiFwMq9FJ5KDGGFaB+MGEMcEYTZQ0nZnuzoSZzqTTETYB0QMISW9W/oM/wF/gHzHqzYvcuOHbDuvu"
        "Gi8m9DBtp+/T93ne9ulb8+MLs6Sb6E0x9XEmxcA85vgBwzGRH+SVd3JDVoWB4gaTYqKIsbyEESuknDCKo8yKMcUNwgB7YjZKvJXF"
        "Yg7wqhg7gqAodLM2RorTKKdp6K1EBLkKBNFitCsYM4abEDmOUNpca4c78/fVyiz2VoivYCePYC3A0FPOQtrQUbC+cKl333DeyyUZ"
        "lFpr87yZKn0gu8mDhMqHmwdFIbYhTozRPE6bFtJC4zziod4bBCJGvIRmnOUeV3hTR0rRBwyO8tmlLTlXdqXKWLXLdmVLBuPC9Fsp"
        "K09uy92dYrVHlNel4zgLh9D0x65x6e4uQ+lMzDzrBlCM3TS1bkkCC9vSFf1uHgIjCkrNLAo9onNCorLa065opUPBqWCkQ/nZYKxL"
        "YnAhmFBEg8lOmlWdeOTl1KOEX5tM2CtKE16bWoZb8ZyFnEx++WS1eATTCnRsSXtArRSG0tqRoWL3dGcQo51HA2PCQsANoTpLYjev"
        "14t7t3ev9K92sFn0v2pF/7W2H3zf+XzwYya8+GxxOD+cuT43/vPbzau1or9Tk8FlUal3Hdjdvw6sBGxtw65sS1Gek1zRnAbafcdX"
        "mibJ2he0XZw+u78zB5cq+Hy3R32yRjLLxRmRYhBRsooeq39QIzCD2Rprj/vge/nfNPv/0BzIcJyCP0Nf2QqOI+Vwb8hrHCGqXhO4"
        "rTGOIugjzBowH9bzdZ5wCPGSDMKH9VLXrzPFrzjxSQTuy1KwH/ljBkNv7eSa3BvQNLiEaYN0CAv2HMjMMePgEmFkPEmhYGpAYFDW"
        "SKJdbyCwKFBWhajrB1AMoJhwrCsDJjAx5/DMbYA+VI9wQw/PgYZkNUN+noIZMScowi6BJ24ny13rNyhiB2s="
    ),
}


def unpacked(version: str) -> bytes:
    return zlib.decompress(base64.b64decode(PICKLED[version]))


@pytest.mark.parametrize("version", PICKLED)
def test_a_table_is_read_without_pandas(version: str, tmp_path: Path) -> None:
    file = tmp_path / "routerbench_0shot.pkl"
    file.write_bytes(unpacked(version))
    assert RouterBench().detect(file)
    log, report = load(file)
    assert log.query_ids == ["arc.1", "mbpp.7"]
    assert log.texts == ["Hot, or\nnot?", "Write é."]
    assert log.tasks == ["arc", "mbpp"]
    assert log.matrix().tolist()[0] == [0.0, 1.0]
    assert log.matrix()[1, 1] == 0.5
    assert log.matrix("cost").tolist()[0] == [1e-05, 0.0002]
    assert log.outcomes["response"].to_list() == [None, "yes", None]
    assert report.dropped == {"no score": 1}


class Evil:
    """What pickles can do."""

    def __init__(self, made: Callable[..., object], *arguments: object) -> None:
        self.made, self.arguments = made, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.made, self.arguments


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    file, mark = tmp_path / "x.pkl", tmp_path / "mark"
    file.write_bytes(pickle.dumps(Evil(os.mkdir, str(mark)), protocol=5))
    assert not RouterBench().detect(file)
    with pytest.raises(ConfigError, match="in no known format"):
        load(file)
    with pytest.raises(LogError, match=r"it holds (posix|nt)\.mkdir, not a table"):
        load(file, format="routerbench")
    good = unpacked("2.2.3")
    evil = pickle.dumps(Evil(os.mkdir, str(mark)), protocol=4)
    inner = evil[evil.index(b"\x8c") : -1]  # without head and end, where a column's text stood
    file.write_bytes(good.replace(b"\x8c\x03yes", inner))
    with pytest.raises(LogError):
        load(file, format="routerbench")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "it holds list, not a table"),
        ({"a": 1}, "it holds dict, not a table"),
        (b"x" * 300, "it holds bytes, not a table"),
        ({1, 2}, "it uses EMPTY_SET"),
    ],
)
def test_other_pickles_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(LogError, match=message):
        list(_pickled.rows(file))


def test_sizes_that_a_pickle_claims_are_not_believed(tmp_path: Path) -> None:
    claims = [
        _pickled._Made("numpy._core.numeric._frombuffer", (10**12, None, (1,), "C")),
        _pickled._Made("numpy.core.multiarray._reconstruct", (), (1, (10**9,), None, False, ["x"])),
        _pickled._Made("datetime.datetime", (b"x",)),
    ]
    for claim in claims:
        with pytest.raises((_pickled._Refused, ValueError)):
            _pickled._array(claim)
    with pytest.raises(_pickled._Refused, match="columns"):
        _pickled._index(_pickled._Made("x", ("RangeIndex", {"start": 0, "stop": 10**15, "step": 1})))


@pytest.mark.parametrize("version", PICKLED)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@example(at=140, byte=142, cut=False)  # lengths of many gigabytes
@example(at=196, byte=6, cut=False)
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_pickle_is_a_log_error_or_a_log(version: str, at: int, byte: int, cut: bool, tmp_path: Path) -> None:
    whole = unpacked(version)
    at %= len(whole)
    file = tmp_path / "x.pkl"
    file.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
    RouterBench().detect(file)
    try:
        load(file, format="routerbench")
    except LogError:
        return
