"""Argument errors: they name the function, the argument, what is accepted and what was given."""

import pytest
import torch

from unshuffle import _check

pytestmark = pytest.mark.errors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_accepts_every_floating_dtype(dtype):
    _check.floating("rank", "scores", torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_floating_refuses_other_dtypes_and_says_what_to_call(dtype):
    message = rf"^rank: `scores` must be floating point; got {dtype}\. Call `scores\.float\(\)` first\.$"
    with pytest.raises(TypeError, match=message):
        _check.floating("rank", "scores", torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_integral_accepts_every_integer_dtype(dtype):
    _check.integral("invert", "perm", torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_integral_refuses_other_dtypes_and_says_what_to_call(dtype):
    message = rf"^invert: `perm` must hold integers; got {dtype}\. Call `perm\.long\(\)` first\.$"
    with pytest.raises(TypeError, match=message):
        _check.integral("invert", "perm", torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("check", [_check.floating, _check.integral])
def test_lists_are_refused_by_their_own_type(check):
    with pytest.raises(TypeError, match=r"^rank: `scores` must be a torch\.Tensor; got list\.$"):
        check("rank", "scores", [1.0, 2.0])


@pytest.mark.parametrize("value", [1, 1e-300, float("inf")])
def test_positive_accepts_what_is_above_zero(value):
    _check.positive("rank", "sigma", value)


@pytest.mark.parametrize("value", [0, -1, -0.0, float("nan")])
def test_positive_refuses_zero_negatives_and_nan(value):
    with pytest.raises(ValueError, match=rf"^rank: `sigma` must be positive; got {value}\.$"):
        _check.positive("rank", "sigma", value)


def test_one_of_lists_what_is_accepted():
    _check.one_of("rank", "noise", "gumbel", ("gaussian", "gumbel"))
    with pytest.raises(ValueError, match=r"^rank: `noise` must be one of 'gaussian', 'gumbel'; got 'uniform'\.$"):
        _check.one_of("rank", "noise", "uniform", ("gaussian", "gumbel"))


@pytest.mark.parametrize("dim", [-2, -1, 0, 1])
def test_axis_accepts_every_axis_from_either_end(dim):
    _check.axis("rank", torch.zeros(2, 3), dim)


@pytest.mark.parametrize(("shape", "dim"), [((2, 3), 2), ((2, 3), -3), ((), -1), ((), 0)])
def test_axis_refuses_an_axis_the_tensor_lacks(shape, dim):
    with pytest.raises(ValueError, match=rf"^rank: `dim` must name an axis of a {len(shape)}-D tensor; got {dim}\.$"):
        _check.axis("rank", torch.zeros(shape), dim)


def test_same_shape_tells_both_shapes():
    _check.same_shape("loss", "ranks", torch.zeros(2, 3), "scores", torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"^loss: `ranks` must have the shape of `scores`, \(2, 3\); got \(3,\)\.$"):
        _check.same_shape("loss", "ranks", torch.zeros(3), "scores", torch.zeros(2, 3))
