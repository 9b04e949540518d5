"""The decoders: network outputs -> people. A file or folder here is a decoder by its name.

`decoding.Decoder` is what each of them has; mypy holds them to it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posert.postprocess.decoders import bodyparts, cifcaf, detect, direct, heatmap, paf, rows, simcc
    from posert.postprocess.decoding import Decoder

    def _held_to_it(*decoders: Decoder) -> None: ...

    _held_to_it(bodyparts, cifcaf, detect, direct, heatmap, paf, rows, simcc)
