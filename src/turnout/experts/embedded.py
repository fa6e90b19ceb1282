"""The embedded arms: each model of the catalogue answers directly, or thinks step by step first."""

from __future__ import annotations

from collections.abc import Iterable

from turnout.models import catalogue
from turnout.types import Arm, How, Limits, Price

DOLLARS_PER_BILLION = 0.10  # per million answer tokens and billion parameters; made up, as are all prices made from it
PROMPT_SHARE = 0.25  # what a prompt token costs of an answer token

FEATURES = frozenset({"response_format", "logprobs", "prefill"})
DIRECT = How()
STEPS = How(
    name="steps",
    suffix="\n\nReason step by step before you answer. Write the steps first. "
    'Put the result on the last line, after "Answer:".',
)


def arms(names: Iterable[str], context: int) -> list[Arm]:
    """Two arms for each named model, of `context` tokens or what the model was trained on. Raises UnknownNameError.

    The direct arm leaves requests as they are. The other appends a sentence to the user's message, which would spoil
    tool calls, structured answers, token probabilities and the continuation of an assistant's words: it takes none.

    Limits: models this small write tool calls as text more often than as calls.

    >>> [arm.id for arm in arms(["smollm2-135m"], 4096)]
    ['smollm2-135m', 'smollm2-135m+steps']
    """
    return [arm for name in names for arm in _pair(catalogue.get(name), context)]


def _pair(model: catalogue.Model, context: int) -> tuple[Arm, Arm]:
    output = DOLLARS_PER_BILLION * model.parameters
    price = Price(input=round(PROMPT_SHARE * output, 6), output=round(output, 6), nominal=True)
    tokens = min(context, model.context)
    direct = Arm(
        id=model.name,
        card=model.card,
        price=price,
        limits=Limits(context=tokens, features=FEATURES | {"tools"} if model.tools else FEATURES),
        tags=frozenset({"embedded"}),
        model=model.name,
        how=DIRECT,
    )
    steps = Arm(
        id=f"{model.name}+{STEPS.name}",
        card=f"{model.card} Thinks step by step before it answers.",
        price=price,
        limits=Limits(context=tokens, features=frozenset()),
        tags=frozenset({"embedded", "steps"}),
        model=model.name,
        how=STEPS,
    )
    return direct, steps
