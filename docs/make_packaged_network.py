"""Makes the packaged network and its page: `python docs/make_packaged_network.py WORK --cube HNCO.fits`.

Runs the commands below in the folder WORK, for hours of a core. What is finished there is kept, so the script can be
started again. With the cube of the CMZ in HNCO, the page also says how the network does on the sky.
"""

import argparse
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from iris_cli.files import file_sha256
from iris_cli.training.model_file import CARD, DIGEST_SUFFIX, PACKAGED

ROOT = Path(__file__).resolve().parents[1]
PAGE, FIGURES = ROOT / "docs/packaged_network.md", ROOT / "docs/figures"
SETS, SURVEY = range(5), "mopra-hnco-fitted"
#: The first set holds the galaxies to validate and to test with.
HELD_OUT, NONE = "--validation-fraction 0.25 --test-fraction 0.7", "--validation-fraction 0 --test-fraction 0"
SHARDS = [f"shards-{k}" for k in SETS]
TRAIN = f"iris train {' '.join(SHARDS)} --config train.toml --out run --resume"
TEST = f"iris test run {SHARDS[0]} --seed 1 --samples 16"
TRAIN_TOML = """\
epochs = 10
checkpoint_every_minutes = 3.0
[optimizer]
learning_rate = 1.5e-3
[samples]
train = true
epochs = 8
[distances]
train = true
epochs = 3
"""
ABOUT = "A first map of HNCO (4-3) cubes of the Galactic Centre; it comes with IRIS. Trained on mock galaxies."

HEAD = """# The packaged network

Written by `python docs/make_packaged_network.py`; do not edit.

    iris revert hnco.fits --figure map.png

Without a run, `iris revert` uses the network that comes with IRIS. It is one network with a sampler and a distance
network, for cubes of HNCO (4-3) that cover the Central Molecular Zone as Mopra's survey does, at 64 x 64 pixels. The
output has the mean map, 64 samples, and P(near) and distance at each longitude and velocity
([output files](cubes.md#output-files)).

What it is not:

- **It is not a measurement.** It was trained on [mock galaxies](mock.md) alone: they decide what the image leaves open.
- It is not for other lines: a cube with the rest frequency of another line is refused. It is not for other coverage: a
  warning says how much of its image a cube fills. Elsewhere than at the Galactic Centre its distances mean nothing.
- It is a small network with a short training: 17 200 galaxies, three quarters of an hour of a core. Its samples are
  better than the prior and nearly calibrated (below), but the score of near or far at each velocity is 91 % of the
  prior's: mostly it says what is usual.
- It is not for publication. [Train a network](training.md) on the grid, line, noise and coverage of your survey, with
  galaxies that you believe in, and compare several of them.

"""


def commands() -> list[tuple[str, str]]:
    """Each command, and the file whose presence says that it need not run again."""
    made = []
    for k, shards in enumerate(SHARDS):
        galaxies, fractions = (4000, NONE) if k else (1200, HELD_OUT)
        done = f"{shards}/index.json"
        made += [
            (f"iris mock std-{k} -n {galaxies} --seed {2000 + k} --preset tiny --survey {SURVEY}", done),
            (f"iris preobserve std-{k} {shards} --survey {SURVEY} --latitude moments {fractions}", done),
            (f"rm -r std-{k}", done),
        ]
    return [*made, (TRAIN, ""), (TEST, "")]


def run(line: str, folder: Path) -> str:
    """The standard output of a command; `iris` is that of this Python."""
    words = shlex.split(line)
    start = [sys.executable, "-P", "-m", "iris_cli"] if words[0] == "iris" else words[:1]
    print(line, flush=True)
    return subprocess.run([*start, *words[1:]], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def page(sky: str) -> str:
    with zipfile.ZipFile(PACKAGED) as archive:
        card = archive.read(CARD).decode()
    numbers = card.partition("\n")[2].partition("## Use")[0]
    made = "\n".join(line for line, _ in commands())
    digest = f"`iris_cli/networks/{PACKAGED.name}`, SHA-256 `{file_sha256(PACKAGED)}`."
    text = f"{HEAD}## Its card\n\n{digest}\n{numbers.replace('## ', '### ')}\n{sky}"
    return f"{text}## How it was made\n\n```text\n{made}\n```\n\nwith train.toml:\n\n```toml\n{TRAIN_TOML}```\n"


def on_the_sky(cube: Path, folder: Path) -> str:
    """What the network says of the cube of the CMZ, and how often its P(near) of catalogued clouds is right."""
    figure, near_far = FIGURES / "cmz_hnco_reverted.png", FIGURES / "cmz_hnco_near_far_packaged.png"
    line = f"iris revert {cube} --out map.fits --figure {figure} --near-far {near_far} --overwrite --json"
    found = json.loads(run(line, folder))
    words = run(line.removesuffix(" --json"), folder).splitlines()
    said = "\n".join(f"- {sentence}" for sentence in words if not sentence.startswith(("/", "map.")))
    scores = run(f"{sys.executable} -m tests.benchmarks.near_far_sky {PACKAGED} --cube {cube}", ROOT)
    table = "\n".join(line for line in scores.splitlines() if line.startswith("|") and "orbit" not in line)
    table = table.replace("1 networks", "network")
    rank = found["quality"]["input_score"]["percentile"]
    return f"""## On the sky

The cube of the CMZ that was rebuilt from the components fitted to Mopra's HNCO (3D_CMZ project, CC0) is farther from
the training set than {rank:.0f} % of held-out inputs:

{said}

![From above, samples, and observed](figures/{figure.name})

P(near) of 31 components of catalogued clouds, with 95 % intervals over clouds
([how](benchmarks/near_far.md#the-real-sky)). A probability is useful where its scores are below those of the constant:

{table}

![Observed image, P(near), and the prior](figures/{near_far.name})

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cube", type=Path, help="the cube of the CMZ in HNCO")
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    (args.work / "train.toml").write_text(TRAIN_TOML)
    for line in [line for line, done in commands() if not done or not (args.work / done).exists()]:
        run(line, args.work)
    PACKAGED.parent.mkdir(exist_ok=True)
    run(f"iris export run {PACKAGED} --overwrite --licence MIT --about {shlex.quote(ABOUT)}", args.work)
    PACKAGED.with_name(PACKAGED.name + DIGEST_SUFFIX).write_text(f"{file_sha256(PACKAGED)}  {PACKAGED.name}\n")
    PAGE.write_text(page(on_the_sky(args.cube.resolve(), args.work) if args.cube else ""))


if __name__ == "__main__":
    main()
