"""The project's own benchmark, run by hand with ``make bench``: what an answer costs, and how that grows.

Servers are processes of their own on loopback; what is told is the CPU time that a server takes for a request, since
machines are shared and clocks tell of all who use them. Needs Linux, whose ``/proc`` tells it.
"""
