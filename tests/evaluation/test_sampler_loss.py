import pytest
import torch

from iris_cli.evaluation.sampler_loss import WEIGHTS, fair_crps, fair_energy_score, scores

N = torch.tensor(2.0)
VOLUME = torch.ones(32, 1)


def normal(spread, samples=2, pairs=20000):
    """Samples of N(0, spread^2), and truths of N(0, 1)."""
    generator = torch.Generator().manual_seed(3)
    return spread * torch.randn(pairs, samples, 4, generator=generator), torch.randn(pairs, 1, 4, generator=generator)


def test_scores_are_least_for_samples_of_the_truth_s_own_distribution():
    for score in (fair_crps, lambda x, y: fair_energy_score(x[:, :, None], y[:, :, None])):
        of = {spread: float(score(*normal(spread)).mean()) for spread in (0.5, 1.0, 1.6)}
        assert of[1.0] < min(of[0.5], of[1.6]) - 0.01


def test_the_fair_score_of_a_normal_distribution_does_not_depend_on_the_number_of_samples():
    exact = 1.0 / torch.pi**0.5  # of N(0, 1) about itself
    assert [float(fair_crps(*normal(1.0, m)).mean()) for m in (2, 3, 8)] == pytest.approx([exact] * 3, rel=0.01)


def test_a_perfect_sample_scores_zero_and_each_error_is_seen_by_its_score():
    generator = torch.Generator().manual_seed(0)
    true = 3.0 * torch.rand(2, 1, 32, 32, generator=generator)
    perfect = scores(true.repeat(1, 2, 1, 1), true, N, VOLUME)
    assert set(WEIGHTS) - set(perfect) == {"patches_16"}  # as large as two maps
    assert max(float(score.max()) for score in perfect.values()) < 1e-5
    mirrored = scores(true.flip(2).repeat(1, 2, 1, 1), true, N, VOLUME)  # the same masses at every longitude
    assert float(mirrored["ln_mass"].max()) < 1e-5 and float(mirrored["ln_columns"].max()) < 1e-5
    assert float(mirrored["near_columns"].min()) > 1e-3
    assert min(float(mirrored[name].min()) for name in ("crps_1", "patches_1", "patches_8", "near")) > 1e-3
    heavier = scores(2.0 * true.repeat(1, 2, 1, 1), true, N, VOLUME)
    assert heavier["ln_mass"] == pytest.approx(torch.log(torch.tensor(2.0)).expand(2).numpy(), rel=0.01)
    assert float(heavier["near"].max()) < 1e-5


def test_an_empty_map_has_finite_scores_and_gradients():
    samples = torch.zeros(1, 2, 32, 32, requires_grad=True)
    torch.stack(list(scores(samples, torch.zeros(1, 1, 32, 32), N, VOLUME).values())).sum().backward()
    assert samples.grad is not None and bool(samples.grad.isfinite().all())
