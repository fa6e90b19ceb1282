"""The battery finds what it is for: a part with a fault fails the check of its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn import FFN, Grouped, LinearGate, LossFreeBias, Plan, RoutingContext, SwitchLoss, TopK, testing
from turnout.nn.base import Dispatched, Experts, Gate, Part, Routing, Segments


class Half(LinearGate):
    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        return super()._logits(x_TD, context).bfloat16()


class Mixing(LinearGate):
    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        return super()._logits(x_TD - x_TD.mean(0), context)


class Idle(LinearGate):
    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        return super()._logits(x_TD, context).detach()


class Counting(LinearGate):
    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts)
        self.register_buffer("passes", torch.zeros(()))

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        self.passes += 1
        return super()._logits(x_TD, context)


class Forgetful(LinearGate):
    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts)
        self.hidden_state = (torch.randn(experts),)

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        return super()._logits(x_TD, context) + self.hidden_state[0]


class Revived(TopK):
    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        return super()._choose(logits_TE.nan_to_num(neginf=0.0), context, bias_E)


class Biased(TopK):
    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        return super()._choose(logits_TE if bias_E is None else logits_TE + bias_E, context, None)


class Padded(SwitchLoss):
    def _loss(self, routing: Routing) -> Tensor:
        return super()._loss(replace(routing, context=RoutingContext()))


class Always(LossFreeBias):
    def _loss(self, routing: Routing) -> None:
        self.counts_E.add_(routing.plan.counts_E)


class Shuffled(Grouped):
    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        found = super()._dispatch(x_TD, plan, experts)
        return replace(found, rows_NM=found.rows_NM.flip(0))


class Rolled(FFN):
    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        return super().forward(x_ND.roll(1, 0), segments)


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (Half, "logits_are_float32_of_every_expert"),
        (Mixing, "a_token_is_scored_by_itself"),
        (Mixing, "padding_does_not_matter"),
        (Idle, "its_parameters_learn"),
        (Counting, "recomputation_counts_once"),
        (Forgetful, "state_dict_round_trip"),
        (Revived, "silenced_experts_are_never_chosen"),
        (Biased, "a_bias_chooses_or_is_refused"),
        (Padded, "padding_does_not_count"),
        (Always, "recomputation_counts_once"),
        (Always, "evaluation_changes_nothing"),
        (Shuffled, "it_equals_the_dense_reference"),
        (Rolled, "a_row_is_served_by_its_own_expert"),
    ],
)
def test_a_fault_is_found(cls: type[Part], check: str) -> None:
    with pytest.raises(AssertionError):
        dict(testing.checks(cls.kind))[check](testing.make_of(cls))


def test_run_names_what_it_ran_and_what_failed() -> None:
    assert "the_gate_learns" in testing.run(TopK, k=2)
    with pytest.raises(AssertionError, match=r"^the_gate_learns: the gradient is 0"):
        testing.run(TopK, k=1)


def test_a_layer_that_works_must_not_be_listed_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "FEED_FORWARD", frozenset())
    with pytest.raises(AssertionError, match="works, but should be refused"):
        testing.check_layer("sparsity_gate", "top_k", "grouped", "ffn")


def test_a_refusal_must_be_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "FEED_FORWARD", frozenset({"lora"}))
    with pytest.raises(AssertionError, match="refused without being listed: SparsityGate reads"):
        testing.check_layer("sparsity_gate", "top_k", "grouped", "lora")


def test_an_own_gate_of_a_user_passes() -> None:
    class Doubled(LinearGate):
        def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
            return 2 * super()._logits(x_TD, context)

    assert issubclass(Doubled, Gate)
    assert len(testing.run(Doubled)) > 10


def test_a_parameter_without_a_stand_in_is_named() -> None:
    class Odd(LinearGate):
        def __init__(self, width: int, experts: int, moon: object) -> None:
            super().__init__(width, experts)

    with pytest.raises(Exception, match="unknown parameter 'moon'"):
        testing.make_of(Odd)()


def test_refusals_are_routing_errors() -> None:
    with pytest.raises(RoutingError, match="LoRA has neither"):
        testing.layer_of("sparsity_gate", "top_k", "grouped", "lora")
