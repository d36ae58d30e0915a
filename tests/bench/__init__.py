"""What ovembed promises about quality, speed, start-up and memory, measured: python -m tests.bench [PART ...]

Figures are ratios wherever they can be, so that they mean the same on another machine. Nothing here is a test.
"""
