"""Bilinear attention is the sum over pairs that its formula says, and one distribution over all of them."""

from __future__ import annotations

import torch
from torch import nn

from unshuffle.nets.bilinear import BilinearAttention, BilinearPool, attend
from unshuffle.nets.wording import QuestionEncoder


def projected(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a dense layer makes of one vector, by its formula: a direction of length one, times a length."""
    weight = layer[1].parametrizations.weight  # type: ignore[index, union-attr]
    direction = weight.original1 / weight.original1.norm()
    return (x @ (weight.original0 * direction).T + layer[1].bias).clamp_min(0)  # type: ignore[index, operator]


def test_logits_are_those_of_a_loop_over_pairs(rng):
    net = BilinearAttention(5, 4, hidden=6, glimpses=3).double().eval()
    objects, words = (torch.randn(2, n, d, dtype=torch.float64, generator=rng) for n, d in ((7, 5), (3, 4)))

    logits = net(objects, words)

    assert logits.shape == (2, 3, 7, 3)
    weight, bias = net.glimpses.weight, net.glimpses.bias
    for b in range(2):
        for i in range(7):
            for j in range(3):
                product = projected(net.object, objects[b, i]) * projected(net.word, words[b, j])
                torch.testing.assert_close(logits[b, :, i, j], weight @ product + bias)


def test_pooling_is_the_weighted_sum_over_pairs(rng):
    net = BilinearPool(5, 4, 6).double().eval()
    objects, words = (torch.randn(2, n, d, dtype=torch.float64, generator=rng) for n, d in ((7, 5), (3, 4)))
    attention = torch.rand(2, 7, 3, dtype=torch.float64, generator=rng)

    expected = sum(
        attention[:, i, j, None] * projected(net.object, objects[:, i]) * projected(net.word, words[:, j])
        for i in range(7)
        for j in range(3)
    )
    torch.testing.assert_close(net(objects, words, attention), expected)


def test_attention_is_one_distribution_over_objects_and_words(rng):
    logits = 5 * torch.randn(3, 2, 6, 4, dtype=torch.float64, generator=rng)
    present = torch.tensor([[True] * 6, [True] * 2 + [False] * 4, [False] * 6])

    attention = attend(logits, present)

    torch.testing.assert_close(attention.sum((-1, -2)), torch.tensor([[1.0, 1], [1, 1], [0, 0]], dtype=torch.float64))
    torch.testing.assert_close(attention[0], logits[0].flatten(1).softmax(-1).reshape(2, 6, 4))
    torch.testing.assert_close(attention[1, :, :2], attend(logits[1:2, :, :2], present[1:2, :2])[0])
    assert (attention[1, :, 2:] == 0).all()
    assert attend(logits.requires_grad_(), present).sum().isfinite()


def test_the_last_state_has_read_the_question_and_padding_in_front_is_zero():
    torch.manual_seed(0)
    net = QuestionEncoder(5, 3, 4)
    words = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 6]])

    states = net(words)

    assert states.shape == (2, 4, 4)
    vectors = net.vectors.weight
    assert (vectors[0] == 0).all()
    expected = net.read(torch.stack([torch.zeros(3), torch.zeros(3), vectors[1], vectors[2]]).unsqueeze(0))[0]
    torch.testing.assert_close(states[:1], expected)


def test_known_word_vectors_replace_only_their_own_words():
    net = QuestionEncoder(3, 2, 4)
    before = net.vectors.weight.detach().clone()

    net.begin_with(torch.tensor([[1.0, 2.0], [9.0, 9.0], [3.0, 4.0]]), torch.tensor([True, False, True]))

    after = net.vectors.weight.detach()
    torch.testing.assert_close(after[[1, 3]], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    torch.testing.assert_close(after[[0, 2, 4]], before[[0, 2, 4]])
