"""Each statistic of an l-v image has the value that is known for a simple one."""

import numpy as np
import pytest

from iris_cli.axes import Axis
from iris_cli.evaluation.image_statistics import STATISTICS, half_width, in_blocks, spectral_slope, statistics_of

LON, V = Axis("longitude", "deg", -1.5, 1.5, 61), Axis("velocity", "km/s", -200.0, 200.0, 81)
EVERYWHERE = np.ones((61, 81), bool)


def gauss(axis, mean, sigma):
    return np.exp(-0.5 * ((axis.centres() - mean) / sigma) ** 2)


def of(image, observed=EVERYWHERE):
    return dict(zip(STATISTICS, statistics_of(image[None], observed, LON, V)[0].tolist(), strict=True))


def test_a_cloud_has_its_position_widths_and_sizes():
    found = of(10.0 * np.outer(gauss(LON, 0.4, 0.2), gauss(V, 50.0, 20.0)))
    assert found["longitude of 50 %"] == pytest.approx(0.4, abs=0.03)
    assert found["longitude of 90 %"] - found["longitude of 10 %"] == pytest.approx(2 * 1.2816 * 0.2, rel=0.03)
    assert found["velocity of 90 %"] - found["velocity of 10 %"] == pytest.approx(2 * 1.2816 * 20.0, rel=0.03)
    for name in ("line width", "line width, middle", "line width, high l"):
        assert found[name] == pytest.approx(20.0, rel=1e-3)
    # exp(-s^2 / (4 sigma^2)) = 1/2
    assert found["autocorrelation, l"] == pytest.approx(0.2 * 1.6651, rel=0.02)
    assert found["autocorrelation, v"] == pytest.approx(20.0 * 1.6651, rel=0.02)
    # a Gaussian holds half of its sum inside 2 ln 2 sigma^2 pi
    half = 2 * np.log(2) * np.pi * 0.2 * 20.0 / (LON.step * V.step * 61 * 81)
    assert found["area of 50 %"] == pytest.approx(half, rel=0.1)
    assert found["structures"] == found["largest structure"] == 1 and found["components"] == 1
    assert found["l-v correlation"] == pytest.approx(0.0, abs=1e-6) and found["noise"] == 0


def test_a_rotating_disc_has_a_gradient_a_correlation_and_a_symmetry():
    lon, v = np.meshgrid(LON.centres(), V.centres(), indexing="ij")
    disc = np.exp(-0.5 * (lon / 0.5) ** 2 - 0.5 * ((v - 100.0 * lon) / 15.0) ** 2)
    found, mirrored, turned = of(disc), of(disc[:, ::-1]), of(disc[::-1, ::-1])
    assert found["velocity gradient"] == pytest.approx(100.0, rel=0.01)
    assert found["velocity scatter"] == pytest.approx(0.0, abs=0.5)
    assert found["l-v correlation"] == pytest.approx(50.0 / np.hypot(50.0, 15.0), rel=0.01)
    assert mirrored["velocity gradient"] == pytest.approx(-found["velocity gradient"])
    assert found["point symmetry"] == pytest.approx(1.0) == turned["point symmetry"]
    shifted = np.exp(-0.5 * ((lon - 0.9) / 0.2) ** 2 - 0.5 * ((v - 100.0) / 15.0) ** 2)
    assert of(shifted)["point symmetry"] == pytest.approx(0.0, abs=1e-3)


def test_two_streams_are_two_components_and_two_structures():
    found = of(np.outer(gauss(LON, 0.0, 0.3), gauss(V, -80.0, 15.0) + gauss(V, 80.0, 15.0)))
    assert found["components"] == 2 and found["structures"] == 2
    assert found["largest structure"] == pytest.approx(0.5)
    assert found["line width"] == pytest.approx(np.hypot(80.0, 15.0), rel=0.01)


def test_the_slope_is_that_of_the_spectrum():
    rng, k = np.random.default_rng(0), np.fft.rfftfreq(256)
    for slope in (-1.0, -3.0):
        modes = rng.standard_normal((1, 400, len(k))) * np.exp(2j * np.pi * rng.random((1, 400, len(k))))
        images = np.fft.irfft(modes * np.maximum(k, k[1]) ** (0.5 * slope), axis=2)
        assert spectral_slope(images)[0] == pytest.approx(slope, abs=0.15)


def test_a_half_width_lies_between_pixels_and_a_constant_has_the_whole_axis():
    assert half_width(np.ones((1, 3, 40)))[0] == pytest.approx(20.0, abs=0.1)  # a triangle
    assert half_width(np.eye(40)[None, 20:21])[0] == pytest.approx(0.5)


def test_only_brightness_depends_on_the_unit_and_noise_is_cut():
    rng = np.random.default_rng(1)
    image = np.outer(gauss(LON, 0.2, 0.3), gauss(V, 30.0, 25.0))
    noisy = image + 0.01 * rng.standard_normal(image.shape)
    clean, cut, milli = of(image), of(noisy), of(1e3 * noisy)
    assert milli["brightness"] == pytest.approx(cut["brightness"] + 3.0)
    assert all(milli[name] == pytest.approx(cut[name]) for name in STATISTICS if name != "brightness")
    assert cut["noise"] * 10 ** cut["brightness"] == pytest.approx(0.01, rel=0.1)
    assert cut["brightness"] == pytest.approx(clean["brightness"], abs=0.02)
    assert cut["line width"] == pytest.approx(clean["line width"], rel=0.05)


def test_what_was_not_observed_does_not_count():
    rng = np.random.default_rng(2)
    image, observed = rng.random((61, 81)), np.zeros((61, 81), bool)
    observed[20:50, 5:70] = True
    garbage = np.where(observed, image, 1e6)
    assert of(garbage, observed) == of(image, observed)
    assert 0.45 < of(image, observed)["area of 90 %"] < 0.9  # of the observed pixels
    assert LON.centres()[20] <= of(image, observed)["longitude of 10 %"] < of(image, observed)["longitude of 90 %"]


def test_empty_images_have_finite_statistics():
    assert np.isfinite(statistics_of(np.zeros((2, 61, 81)), EVERYWHERE, LON, V)).all()
    assert np.isfinite(statistics_of(-np.ones((1, 61, 81)), EVERYWHERE, LON, V)).all()


def test_blocks_are_means_and_a_remainder_is_left_out():
    image = np.arange(35 * 32, dtype=float).reshape(1, 35, 32)
    made = in_blocks(image, 16)
    assert made.shape == (1, 17, 16)
    assert made[0, 0, 0] == image[0, :2, :2].mean() and made[0, 16, 15] == image[0, 32:34, 30:].mean()
