"""What a large corpus costs on one machine, in seconds and in memory, by its size.

``python -m benchmarks.scale`` (``make scale``); the figures and the plot stand in ``docs/performance.md``.
"""
