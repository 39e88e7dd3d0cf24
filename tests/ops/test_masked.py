import pytest
import torch

from worldmodels.ops.masked import explained_variance, masked_mean, standardise

X = torch.tensor([[1.0, 2.0, torch.nan], [6.0, torch.inf, 3.0]])
MASK = torch.tensor([[True, True, False], [True, False, True]])


def test_the_mean_counts_only_what_the_mask_shows():
    assert masked_mean(X, MASK).item() == 3.0
    assert masked_mean(X, torch.zeros_like(MASK)).item() == 0.0


def test_the_gradient_of_the_mean_stays_inside_the_mask():
    x = X.clone().requires_grad_()
    masked_mean(x, MASK).backward()
    assert x.grad.tolist() == [[0.25, 0.25, 0.0], [0.25, 0.0, 0.25]]


def test_standardised_entries_have_mean_zero_and_deviation_one():
    found = standardise(X, MASK)
    kept = found[MASK]
    assert kept.mean().item() == pytest.approx(0, abs=1e-6)
    assert kept.std(correction=0).item() == pytest.approx(1)
    assert (found[~MASK] == 0).all()


def test_equal_entries_standardise_to_zero():
    assert (standardise(torch.full((2, 3), 7.0), torch.ones(2, 3, dtype=torch.bool)) == 0).all()


def test_explained_variance_of_the_truth_is_one_and_of_a_constant_zero():
    target, mask = torch.randn(4, 5), torch.ones(4, 5, dtype=torch.bool)
    assert explained_variance(target + 3, target, mask).item() == pytest.approx(1)
    assert explained_variance(torch.zeros(4, 5), target, mask).item() == pytest.approx(0, abs=1e-6)
