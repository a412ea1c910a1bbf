"""Published benchmarks as evaluators."""
