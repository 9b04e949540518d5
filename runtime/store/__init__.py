"""Data where it lies: addresses of stores and listings, clips fetched ahead and deleted after use, results put."""
