"""Checkpoints of TensorFlow 1, read without TensorFlow: the files' formats, and Google's names beside ours."""
