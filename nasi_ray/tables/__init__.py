"""Tables of true accuracies: look up, and convert from the benchmarks' official files."""
