"""How `co_h2_rates.npz` was made: `python make_co_rates.py CO.DAT`, from LAMDA's file of 12CO.

The rates are those of Yang, Stancil, Balakrishnan & Forrey 2010, ApJ 718, 1062, as the LAMDA database (Schoier et al.
2005, A&A 432, 369) tabulates them: 820 downward transitions among 41 levels, 25 temperatures, para- and ortho-H2.
LAMDA's file is in the wheel of spectralradex 1.1.5 (MIT licence) as `spectralradex/radex/data/co.dat`:

    pip download --no-deps spectralradex==1.1.5 && python -m zipfile -e spectralradex-*.whl wheel
    python -m iris_cli.observers.data.make_co_rates wheel/spectralradex/radex/data/co.dat
"""

import sys
from pathlib import Path

import numpy as np

from iris_cli.observers.builtin_molecules import RATES_FILE
from iris_cli.observers.lamda import read_lamda


def main(lamda_file: Path) -> None:
    partners = {partner.collider: partner for partner in read_lamda(lamda_file).partners}
    para, ortho = partners["p-H2"], partners["o-H2"]
    if not (np.array_equal(para.upper, ortho.upper) and np.array_equal(para.lower, ortho.lower)):
        raise SystemExit(f"{lamda_file}: para- and ortho-H2 do not list the same transitions")
    np.savez_compressed(
        RATES_FILE,
        upper=para.upper.astype(np.uint8),
        lower=para.lower.astype(np.uint8),
        temperatures_K=para.temperatures_K.astype(np.float32),
        para_cm3_s=para.rates_cm3_s.astype(np.float32),
        ortho_cm3_s=ortho.rates_cm3_s.astype(np.float32),
    )
    print(f"{RATES_FILE}: {para.rates_cm3_s.shape[0]} transitions, {RATES_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
