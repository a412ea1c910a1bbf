import time

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.cost.measure import build
from hwnas_jax.cost.measure.build import compile_all
from tests.cost.toy import ToySpace


def test_a_network_runs_with_sane_values():
    space = ToySpace()
    ((call,), _) = compile_all(space, [np.array([2, 2, 1, 0, 1])], (), 7, device=jax.devices()[1])
    logits = call()
    assert logits.devices() == {jax.devices()[1]}
    assert logits.shape == (7, 3)
    values = np.abs(np.asarray(logits))
    assert np.isfinite(values).all()
    assert 1e-3 < values.max() < 1e3


def test_inference_uses_running_statistics():
    # With mean 0 and variance 1 an image's output does not depend on the rest of the batch.
    class Norm(ToySpace):
        def network(self, architecture, rngs, *, axis_name=None):
            return nnx.Sequential(lambda x: x.reshape(len(x), -1), nnx.BatchNorm(4, rngs=rngs))

    ((call,), _) = compile_all(Norm(), [np.zeros(5, int)], (), 3)
    images = np.random.default_rng(0).standard_normal((3, 2, 2, 1), np.float32)
    np.testing.assert_allclose(call(), images.reshape(3, 4) / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_many_come_back_in_order():
    space = ToySpace()
    architectures = [np.array([0, 0, 0, 0, 0]), np.array([2, 2, 2, 2, 1])]
    operations = space.operations()[0]
    done = []
    networks, parts = compile_all(space, architectures, operations.values(), 4, done.append)
    for call, architecture in zip(networks, architectures, strict=True):
        ((alone,), _) = compile_all(space, [architecture], (), 4)
        np.testing.assert_allclose(call(), alone(), rtol=1e-6)
    assert [call().shape[1] for call in parts] == [4, 4, 3]
    assert done[-1] == 5
    assert done == sorted(done)


def test_a_stop_does_not_wait_for_all_that_was_asked_for(monkeypatch):
    compiled = []

    def slow(*lowered):
        time.sleep(0.05)
        compiled.append(lowered)

    def stop(done):
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(build, "_compile", slow)
    monkeypatch.setattr(build, "_lower_network", lambda *given: given)
    with pytest.raises(KeyboardInterrupt):
        compile_all(ToySpace(), [np.zeros(5, int)] * 300, (), 4, stop)
    assert 0 < len(compiled) < 150
