import pytest
import torch
from torch.distributions import Categorical

from ncp_control.learning.losses import choice_cross_entropy


def test_the_loss_is_the_negative_log_probability_of_the_right_choices():
    scores, choices = torch.randn(4, 7, 9, requires_grad=True), (3, 2, 4)
    wanted = torch.stack([torch.randint(count, (4, 7)) for count in choices], dim=-1)
    blocks = zip(scores.split(choices, dim=-1), wanted.unbind(-1), strict=True)
    expected = -sum(Categorical(logits=block).log_prob(right) for block, right in blocks)
    loss = choice_cross_entropy(scores, wanted.float(), choices)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    right = torch.cat(
        [torch.eye(n)[w] for n, w in zip(choices, wanted.unbind(-1), strict=True)], -1
    )
    chances = torch.cat([part.softmax(-1) for part in scores.split(choices, dim=-1)], dim=-1)
    torch.testing.assert_close(scores.grad, (chances - right).detach())


def test_choices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`scores` and `wanted` must hold 5 scores and 2 choices"):
        choice_cross_entropy(torch.zeros(1, 4), torch.zeros(1, 2), (2, 3))
    with pytest.raises(ValueError, match="`wanted` must hold choices from 0 to 2 in entry 1, got"):
        choice_cross_entropy(torch.zeros(1, 5), torch.tensor([[1, 3]]), (2, 3))
