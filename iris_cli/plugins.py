"""Networks and losses of other packages: MODULE:NAME, or a name that an installed package declares (an entry point).

Runs, exported networks and configurations are passed between people, and an import runs code. So a MODULE:NAME that a
file holds is imported only if the user names its module: with --network or --loss, with --trust, or in the variable
IRIS_TRUST. Entry points need no such word: a package that declares one was installed for IRIS.
"""

import importlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iris_cli.errors import IrisError, UsageError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Modules, separated by commas, for this process and those that it starts.
TRUST = "IRIS_TRUST"
#: Key of `TrainConfig` -> group of entry points.
GROUPS = {"network": "iris.networks", "physical_loss": "iris.losses"}
#: Among the names of a help page.
OWN = "MODULE:NAME"
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def trusted() -> list[str]:
    """The modules that may be imported."""
    return list(filter(None, map(str.strip, os.environ.get(TRUST, "").split(","))))


def trust(module: str) -> None:
    """Allow names of this module, and of modules inside it, in runs and configurations."""
    os.environ[TRUST] = ",".join(dict.fromkeys([*trusted(), module]))


def typed(name: str) -> str:
    """A name on the command line: its module is trusted."""
    if ":" in name:
        trust(name.partition(":")[0])
    return name


def installed(key: str) -> "dict[str, EntryPoint]":
    """The entry points for a key of the configuration, by name."""
    from importlib.metadata import entry_points  # takes 40 ms

    return {entry.name: entry for entry in entry_points(group=GROUPS[key])}


def find(key: str, name: str, known: Mapping[str, Any]) -> Any:
    """What a key of the configuration names: one of `known`, an entry point, or a MODULE:NAME that is trusted.

    UsageError when there is none, or it cannot be imported.
    """
    if name in known:
        return known[name]
    what = key.replace("_", " ")
    if ":" in name:
        return _imported(what, name)
    entries = installed(key)
    if name not in entries:
        hint = nearest(name, [*known, *entries])
        raise UsageError(f"unknown {what} '{name}'", f"{hint}; or MODULE:NAME, or install the package that has it")
    entry = entries[name]
    return _loaded(what, f"{name} ({entry.value})", *entry.value.split(":"))


def _imported(what: str, name: str) -> Any:
    if not _NAME.fullmatch(name):
        raise UsageError(f"the {what} '{name}' is not MODULE:NAME", "e.g. my_module:MyClass")
    module, _, inside = name.partition(":")
    if not any(f"{module}.".startswith(f"{each}.") for each in trusted()):
        hint = f"if you trust the module {module} of this machine, add --trust {module}"
        raise UsageError(f"the {what} {name} is code outside of IRIS, which a file alone does not import", hint)
    return _loaded(what, name, module, inside)


def _loaded(what: str, name: str, module: str, inside: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in inside.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        hint = "install its package, or set PYTHONPATH to the folder that holds the module"
        raise UsageError(f"the {what} {name} cannot be imported: {error}", hint) from error
    except AttributeError as error:
        raise UsageError(f"the {what} {name} does not exist: {error}", f"is it defined in {module}?") from error
    except IrisError:
        raise
    except Exception as error:
        first = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UsageError(f"the {what} {name} cannot be imported: {first}", "--verbose shows where") from error
    return found
