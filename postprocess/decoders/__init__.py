"""The decoders: network outputs -> people. A file or folder here is a decoder by its name."""
