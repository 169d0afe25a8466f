"""The classical methods by name."""

from collections.abc import Callable

from torch import Tensor

from ksdiff.baselines.bdsd import bdsd_pc
from ksdiff.baselines.component import brovey, bt_h, exp, gsa, rcs
from ksdiff.baselines.glp import mtf_glp, mtf_glp_fs, mtf_glp_hpm
from ksdiff.baselines.pair import ClassicalPair

METHODS: dict[str, Callable[[ClassicalPair], Tensor]] = {
    "exp": exp,
    "brovey": brovey,
    "bt-h": bt_h,
    "gsa": gsa,
    "bdsd-pc": bdsd_pc,
    "rcs": rcs,
    "mtf-glp": mtf_glp,
    "mtf-glp-fs": mtf_glp_fs,
    "mtf-glp-hpm": mtf_glp_hpm,
}
