"""The names in configurations are those of the registries."""

import pytest

from iris_cli.config import observer as config
from iris_cli.config.preobserve import LATITUDE_REDUCTIONS, OBSERVER_NAMES
from iris_cli.errors import UsageError
from iris_cli.observers import observer, synthetic
from iris_cli.observers.backends.backend import BACKENDS, backend
from iris_cli.observers.populations import choose_populations
from iris_cli.observers.registry import OBSERVERS
from iris_cli.observers.transfer import REGIMES


def test_configurations_offer_what_is_registered():
    assert set(config.REGIME_NAMES) == set(REGIMES)
    assert set(config.BACKEND_NAMES) == {"auto", *BACKENDS}
    assert set(config.BRIGHTNESSES) == set(synthetic._UNIT)
    assert set(OBSERVER_NAMES) == set(OBSERVERS)
    assert set(LATITUDE_REDUCTIONS) == set(observer.LATITUDE_REDUCTIONS)
    assert [choose_populations(name, None, 3.0, 1.0).name for name in config.POPULATIONS] == list(config.POPULATIONS)


def test_each_backend_has_its_name_and_computes_every_regime():
    for name in BACKENDS:
        assert backend(name).name == name
        assert set(backend(name).regimes) == {type(regime) for regime in REGIMES.values()}
    with pytest.raises(UsageError, match="unknown backend 'torhc'") as refused:
        backend("torhc")
    assert refused.value.hint == "did you mean 'torch'?"
