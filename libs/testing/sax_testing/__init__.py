"""Fakes, conformance suites and an in-process cell for tests; never imported by production code."""
