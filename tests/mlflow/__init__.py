"""MLflow's own server and client against the gateway: both give the same rows.

The packages are installed once, in an environment of their own.
"""
