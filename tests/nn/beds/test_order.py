from __future__ import annotations

import torch

from turnout.nn.beds.order import FIRST, LENGTH, SECOND, VOCABULARY, Bag, Ordered, sentences


def test_the_marked_pair_answers_the_order_question_alone() -> None:
    found = sentences(500, 1)
    first_N = (found.ids_NS == FIRST).float().argmax(1)
    second_N = (found.ids_NS == SECOND).float().argmax(1)
    assert torch.equal((first_N < second_N)[found.order_N].long(), found.label_N[found.order_N])


def test_a_bag_cannot_see_order_and_a_gru_can() -> None:
    torch.manual_seed(0)
    found = sentences(4, 2)
    x_NSV = torch.nn.functional.one_hot(found.ids_NS, VOCABULARY).float()
    turned = x_NSV.flip(1).flatten(1)
    bag, gru = Bag(VOCABULARY, 8, 2), Ordered(VOCABULARY, 8, 2)
    assert torch.allclose(bag(x_NSV.flatten(1)), bag(turned), atol=1e-6)
    assert not torch.allclose(gru(x_NSV.flatten(1)), gru(turned), atol=1e-3)
    assert x_NSV.shape[1] == LENGTH
