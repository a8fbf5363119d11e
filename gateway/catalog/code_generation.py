"""Python functions that are written while the gateway runs, for what is decided once and done often.

Their source is made of names that are numbers and of constants: no text of a client or a registry is ever run.
"""

from typing import Any


class CodeBuilder:
    """The source code of functions as it is written, and the constants that it names."""

    def __init__(self, **constants: Any) -> None:
        self.lines: list[str] = []
        self.constants = constants
        self._count = 0

    def name(self) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"n{self._count}"

    def constant(self, value: Any) -> str:
        """The name of a value."""
        name = self.name()
        self.constants[name] = value
        return name

    def define(self, arguments: str, body: str) -> str:
        """The name of a function."""
        name = self.name()
        self.lines.append(f"def {name}({arguments}):\n    {body}")
        return name

    def function(self, arguments: str, body: str) -> Any:
        """A function, which may use all that was written before."""
        name = self.define(arguments, body)
        names = dict(self.constants)
        exec(compile("\n".join(self.lines), "<written>", "exec"), names)  # noqa: S102
        return names[name]
