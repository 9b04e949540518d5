"""Plain loops that run as machine code, in Python and in C alike: their registry, their compiler, their loader."""
