"""The commands of `iris`, one file each: options, one call, what to print.

In: the words of a command line. Out: a call of the package that does the work, and a result on stdout. Open `train.py`
first, then `options.py` (how options are made of a configuration) and `help.py` (how `--help` looks). `provenance.py`
records how an output was made; `names.py` checks names in a configuration.
"""
