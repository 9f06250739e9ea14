"""Against numbers from the IRIS paper's own code: its tensors and its pairs are of the same snapshot."""

import numpy as np
import pytest
import torch

from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.top_down import top_down_density
from iris_cli.standard.dataset import StandardDataset
from iris_cli.standard.paper_format import open_paper_dataset


def test_the_density_image_of_view_0_agrees_with_the_papers(shared_data):
    dataset = StandardDataset.open(shared_data / "reference-standard")
    _, density = open_paper_dataset(shared_data / "reference-preobserved").pair(0)
    found = top_down_density(torch.from_numpy(dataset[0]), dataset.grid).numpy()
    assert found == pytest.approx(density, rel=2e-6)


def test_the_papers_line_image_of_view_0_has_the_kinematics_of_velocity_density(shared_data):
    """The physics differs (a 13CO line), but positions and velocities must agree, including signs and axis order."""
    dataset = StandardDataset.open(shared_data / "reference-standard")
    kelvin, _ = open_paper_dataset(shared_data / "reference-preobserved").pair(0)
    found = SimpleObserver(dataset.grid).observe(torch.from_numpy(dataset[0])).numpy()
    bright = np.sqrt(np.maximum(kelvin, 0.0)).ravel()

    def alike(image):
        return float(np.corrcoef(np.sqrt(image).ravel(), bright)[0, 1])

    assert alike(found) > 0.8
    assert max(alike(found[..., ::-1]), alike(found[:, ::-1])) < 0.4
