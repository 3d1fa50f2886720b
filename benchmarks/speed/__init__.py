"""How fast each hot step is: against a textbook way of doing it, and against what the machine can do at all.

``python -m benchmarks.speed [NAME ...]`` (``make bench``); ``docs/performance.md`` explains the lines.
"""
