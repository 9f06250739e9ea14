"""The error of a shard folder: `message` says what is wrong and where, `hint` how to fix it."""


class ShardError(Exception):
    """A shard, its index or a member is damaged, missing or inconsistent, or cannot be written as asked."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> "tuple[type[ShardError], tuple[str, str]]":
        return type(self), (self.message, self.hint)


class VersionError(ShardError):
    """A file is of another version of the format: it is not damaged, and must not be replaced."""
