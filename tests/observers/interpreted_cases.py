"""What the GPU's kernel is shown without a GPU; no Triton is needed to name the cases."""

from __future__ import annotations

from typing import Any

THICK = {"dust_opacity_m2_kg": 1e-3, "populations": "lte"}
MASER = {"populations": "non-lte", "transition": "1-0", "gas": "maser"}
CASES: dict[str, dict[str, Any]] = {
    "lte": THICK,
    "non-lte": THICK | {"populations": "non-lte"},
    "in-cell gradient": THICK | {"in_cell_gradient": True},
    "broad, in-cell gradient": THICK | {"in_cell_gradient": True, "turbulence_m_s": 3000.0},
    "without dust": THICK | {"dust_opacity_m2_kg": 0.0},
    "opaque dust": THICK | {"dust_opacity_m2_kg": 1.0},
    "masers": MASER,
    "masers clipped": MASER | {"masers": "clip"},
    "one cell": THICK | {"gas": "one cell"},
    "beyond the range": THICK | {"gas": "beyond"},
    "several blocks": THICK | {"subsamples": 41},
    "selective": THICK | {"regime": "selective"},
    "thin": THICK | {"regime": "thin"},
}
#: The march of these is a sum.
LINEAR = ("selective", "thin")
