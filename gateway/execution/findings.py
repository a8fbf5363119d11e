"""What root fields found: given again to whoever asks the same, in whatever words, while what it stands on is fresh."""

from dataclasses import dataclass
from typing import Any

from gateway.catalog.cache_dependencies import CacheDependencies, DerivedCache


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The records of one root field, which nobody may change, and what they were made of."""

    value: Any
    basis: CacheDependencies

    @property
    def size(self) -> int:
        """As much as the answers that they hold parts of."""
        return sum(entry.size for _, entry in self.basis.entries)


Findings = DerivedCache[Finding]
