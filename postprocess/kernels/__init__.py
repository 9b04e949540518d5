"""Plain loops that run as machine code, in Python and in C alike: their registry, their compiler, their loader."""

from posert.postprocess.kernels import load, registry

registry.FINDERS[:] = [load.function]
