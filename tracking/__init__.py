"""The language: the tracking APIs of the seeds as code that both ends share.

Pure but for :mod:`tracking.endpoints` and :mod:`tracking.serving`; knows no agent, no collector.
"""
