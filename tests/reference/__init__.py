"""Comparisons with the numbers of the reference implementation."""
