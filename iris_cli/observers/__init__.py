"""Matter -> what an observer sees. `observe_arrays` is the synthetic observer for plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iris_cli.observers.arrays import observe_arrays

__all__ = ["observe_arrays"]


def __getattr__(name: str) -> Any:
    """Importing the package wakes nothing heavy; asking for the function does."""
    if name == "observe_arrays":
        from iris_cli.observers.arrays import observe_arrays

        return observe_arrays
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
