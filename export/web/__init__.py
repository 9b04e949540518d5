"""posert in web pages and other hosts of WebAssembly: the site, the module in it, the table of a model, the schema.

`files/` is what a page loads, `wasm.c` and `expf.c` what `posert.wasm` adds to the C library (`wheels/wasm.py` compiles
it). Knows no decoder: what they take stands in their own records, of which `schema.py` tells the browser.
"""
