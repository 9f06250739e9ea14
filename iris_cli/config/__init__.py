"""Configuration: frozen dataclasses from TOML files and command-line flags, and the same TOML back.

In: a TOML file, flags. Out: a checked dataclass, such as `TrainConfig`. No module here imports torch. Open `setting.py`
first (how a key, its flag, help, default and unit are declared), then `train.py`; `catalogue.py` lists all
configurations and presets by name.
"""
