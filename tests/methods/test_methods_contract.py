"""The contract suite: one set of claims, every method of ``methods.ALL`` with every objective that it takes."""

import pytest
import torch
from methods_contract import CASES, MATRICES, OBJECTIVES, first_of
from torch import nn

from unshuffle import permutations

every_method = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def same_draws_every_time() -> None:
    torch.manual_seed(0)


@every_method
@pytest.mark.parametrize("size", [2, 7])
def test_a_step_gives_a_finite_scalar_with_a_gradient_and_detached_logs(case, size):
    step = case.build().step(case.batch(size))

    assert step.loss.shape == ()
    assert step.loss.isfinite()
    assert step.loss.requires_grad
    assert set(case.logs) <= set(step.logs)
    for value in step.logs.values():
        assert value.shape == ()
        assert not value.requires_grad
    assert step.logs["loss"] == step.loss.detach()
    assert all(0 <= step.logs[name] <= 1 for name in case.logs if name != "loss")
    shares = [step.logs[name] for name in ("exact_order", "partial_ranks") if name in step.logs]
    assert shares == sorted(shares)  # a whole order is right where all its ranks are


@every_method
def test_the_gradient_reaches_every_parameter(case):
    method = case.build()

    method.step(case.batch(8)).loss.backward()

    learnt = {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert learnt
    for name, parameter in learnt.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Biases may rest (before a batch norm, or common to all scores of a ranking); weights never do.
        assert parameter.grad.abs().max() > 1e-8 or parameter.ndim == 1, name


@pytest.mark.parametrize("case", [c for c in CASES if c.shift_free is not None], ids=lambda case: case.name)
def test_the_last_bias_rests_only_where_a_common_shift_means_nothing(case):
    if case.shift_free is None:
        pytest.skip("its last layer has no bias, or is not learnt")
    method = case.build()
    method.step(case.batch(8)).loss.backward()

    last = [m for m in method.modules() if isinstance(m, nn.Linear)][-1].bias

    assert last.grad is not None
    assert (last.grad.abs().max() < 1e-5) == case.shift_free


@every_method
def test_embeddings_are_deterministic_in_evaluation(case):
    method, inputs = case.build().eval(), case.single(6)

    first, again = method.embed(inputs), method.embed(inputs)

    assert first.shape == (6, case.width)
    assert first.equal(again)
    torch.testing.assert_close(first[:2], method.embed(first_of(inputs, 2)))  # a sample alone is the same sample


@every_method
def test_weights_travel_by_state_dict(case):
    first, second, inputs = case.build(), case.build(), case.single(3)
    first.step(case.batch(4))  # moves the batch-norm statistics
    assert not torch.allclose(first.eval().embed(inputs), second.eval().embed(inputs))

    second.load_state_dict(first.state_dict())

    assert first.embed(inputs).equal(second.embed(inputs))


@every_method
def test_the_loss_is_single_precision_under_autocast(case):
    method = case.build()

    with torch.autocast("cpu", torch.bfloat16):
        step = method.step(case.batch(4))
    step.loss.backward()

    assert step.loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in method.parameters() if p.requires_grad)


@every_method
def test_a_few_steps_on_one_batch_lower_its_loss(case):
    method, batch = case.build(), case.batch(8)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)

    losses = []
    for _ in range(30):
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize("objective", [*OBJECTIVES, *MATRICES])
def test_scores_that_say_the_truth_are_all_right(objective):
    """The objective's own reading of perfect scores: all ranks right, whole orders too."""
    from unshuffle.methods.base import ranking_step

    loss = (OBJECTIVES | MATRICES)[objective]
    if objective in MATRICES:
        ranks = torch.tensor([[2.0, 1.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.5, 2.5, 4.0]])
        scores = 10 * permutations.rank_matrix(ranks).flatten(1)
    elif objective == "fixed":
        chosen = torch.tensor([4, 0, 2])
        ranks, scores = loss.choices.build(4)[chosen].float() + 1, nn.functional.one_hot(chosen, 6) * 10.0
    else:
        ranks = torch.tensor([[2.0, 1.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
        scores = ranks.clone()

    good, bad = ranking_step(scores, ranks, loss), ranking_step(-scores, ranks, loss)

    assert good.logs["partial_ranks"] == good.logs["exact_order"] == 1
    assert bad.logs["partial_ranks"] < 1
    assert good.loss < bad.loss
