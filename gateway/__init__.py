"""A GraphQL gateway over heterogeneous AI model registries."""

__version__ = "0.1.0"
