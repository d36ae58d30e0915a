"""What every HTTP service of ours needs, whatever it answers: binding, draining, limits, keys, logs, errors."""
