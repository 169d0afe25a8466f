from typing import get_args

import numpy as np
import pytest
import torch

from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.options import Method
from ksdiff.inference.sharpen import Sharpener
from ksdiff.synthetic.scene import procedural_scene


def test_the_options_name_every_method():
    assert set(get_args(Method)) == {"ksdiff", *METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_a_small_scene_is_what_the_method_makes_of_it(scene, name):
    pan, ms = (torch.from_numpy(image.astype(np.float32)) for image in scene[:2])
    sharpener = Sharpener(method=name, registration="off")
    prepared = sharpener.prepare(ArrayPair(pan, ms, (2.0, 2.0)))
    pair = ClassicalPair.of(pan[None], ms[None], prepared.gains, 4, (2.0, 2.0), "reflect")
    fused = sharpener.fuse(prepared)
    torch.testing.assert_close(fused, METHODS[name](pair)[0], rtol=0, atol=0.05)


@pytest.mark.parametrize("name", ["gsa", "bdsd-pc", "mtf-glp-hpm"])
def test_windows_leave_no_seams(name):
    pan, ms, _ = procedural_scene(1, 768, 4)
    fused = [
        Sharpener(method=name, registration="off", tile=tile).sharpen(pan, ms, (2.0, 2.0))
        for tile in (256, 512)
    ]
    np.testing.assert_allclose(*fused, atol=0.05 * fused[0].std())
    assert np.abs(fused[0] - fused[1]).mean() < 1e-3 * fused[0].std()


def test_classical_methods_take_no_weights(quick):
    with pytest.raises(KSDiffError, match="weights: gsa takes none"):
        Sharpener(quick, method="gsa")
    with pytest.raises(KSDiffError, match=r"method: expected ksdiff, exp, .* got 'magic'"):
        Sharpener(method="magic")


@pytest.mark.parametrize(("bands", "ratio"), [(3, 4), (6, 4), (5, 2)])
def test_any_number_of_bands_is_taken(bands, ratio):
    pan, ms, _ = procedural_scene(1, 128, bands, ratio=ratio)
    assert Sharpener(method="mtf-glp-hpm").sharpen(pan, ms).shape == (bands, 128, 128)
