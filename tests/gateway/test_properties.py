"""Whatever is sent: a success or OpenAI's error shape, never a 500, never a lost trace, and the service goes on."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
CONTENT = st.text(max_size=30) | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=9)}))
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "boss"]), "content": CONTENT | VALUES}
    ),
    max_size=4,
)
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["turnout/auto", "sums", "names", "nobody"]), "messages": MESSAGES | VALUES},
    optional={
        "stream": st.booleans() | VALUES,
        "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}) | VALUES,
        "tools": VALUES,
        "response_format": VALUES,
        "max_tokens": st.integers() | VALUES,
        "metadata": VALUES,
        "user": st.text(max_size=5) | VALUES,
        "temperature": VALUES,
    },
)
GIVEN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def check(answer: Any) -> None:
    assert answer.status in {200, 400, 404}, answer
    if answer.status == 200:
        assert answer.body.endswith(b"data: [DONE]\n\n") or answer.json()["choices"]
    else:
        assert answer.error["type"] == "invalid_request_error"
        assert "x-turnout-trace" in answer.headers


@GIVEN
@given(document=BODIES, header=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20))
def test_any_document(gateway: Any, document: dict[str, Any], header: str) -> None:
    check(gateway.chat(json.dumps(document).encode(), x_turnout_session=header))


@GIVEN
@given(raw=st.binary(max_size=300))
def test_any_bytes(gateway: Any, raw: bytes) -> None:
    check(gateway.chat(raw))


@GIVEN
@given(document=BODIES, at=st.floats(0, 1), noise=st.binary(min_size=1, max_size=3))
@example(
    document={"messages": [{"role": "system", "content": ""}] * 2, "model": "turnout/auto"}, at=0.6875, noise=b"\x80"
)
def test_any_damage(gateway: Any, document: dict[str, Any], at: float, noise: bytes) -> None:
    raw = json.dumps(document).encode()
    place = int(at * len(raw))
    check(gateway.chat(raw[:place] + noise + raw[place + 1 :]))
