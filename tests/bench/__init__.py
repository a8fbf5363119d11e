"""The project's own benchmark, run with ``make bench``: the CPU time of a request, and how it grows.

Every server is a separate process on loopback. The benchmark reports CPU time instead of elapsed time, because machines
are shared. It reads CPU time from ``/proc`` and so needs Linux.
"""
