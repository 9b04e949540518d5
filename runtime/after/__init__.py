"""What happens to a source's results after the loop: ids, smoothing, features."""
