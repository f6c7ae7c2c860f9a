"""Readers: each finds the samples of one layout of data, and their classes."""
