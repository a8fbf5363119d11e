"""Source code of generated Python functions: builds it line by line and compiles it.

Record readers and projections are generated once per selection and called for every row. Besides fixed text, callers
put only numbered names, constants, and the `repr()` of strings into the code. Response keys are the only text of a
client in it; GraphQL limits them to letters, digits and underscores. It contains no text of a registry.
"""

from collections.abc import Mapping
from textwrap import indent
from typing import Any


class CodeBuilder:
    """Collects the source code of functions, and the constants that it refers to."""

    def __init__(self, **constants: Any) -> None:
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.constants = constants
        self._count = 0

    def name(self) -> str:
        """Return an unused name."""
        self._count += 1
        return f"n{self._count}"

    def constant(self, value: Any) -> str:
        """Make a value available to the code. Returns its name."""
        name = self.name()
        self.constants[name] = value
        return name

    def define(self, arguments: str, body: str) -> str:
        """Add a function. Returns its name."""
        name = self.name()
        self.functions.append(name)
        self.lines.append(f"def {name}({arguments}):\n    {body}")
        return name

    def function(self, arguments: str, body: str) -> Any:
        """Compile all functions that were added and one more. Returns the last one as a callable."""
        name = self.define(arguments, body)
        return self.compiled()[name]

    def compiled(self) -> Mapping[str, Any]:
        """Compile all functions that were added. Returns them by name.

        The functions are closures: as globals they would be cycles, which only a garbage collection frees.
        """
        lines = indent("\n".join(self.lines), "    ")
        pairs = ", ".join(f"{name!r}: {name}" for name in self.functions)
        source = f"def make({', '.join(self.constants)}):\n{lines}\n    return {{{pairs}}}"
        names: dict[str, Any] = {}
        exec(compile(source, "<generated>", "exec"), names)  # noqa: S102
        functions: Mapping[str, Any] = names.pop("make")(**self.constants)
        return functions
