"""A loaded model at work for many callers: its queue, its batches, its health."""
