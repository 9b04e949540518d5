"""What stores say of very many addresses: by listings, of a thousand files in a request, where that is the shorter way.

Owns that choice. Knows addresses, nothing of media or jobs.
"""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from posert.errors import PosertError
from posert.runtime.store import remote
from posert.runtime.store.address import bare, common_folder, is_stored
from posert.runtime.store.remote import Facts

_FEW = 50  # of one bucket are asked for one by one
_AT_ONCE = 16
_ASK_S = 0.002  # for each address, if so many are asked for at once and a store takes .03 s for an answer
_LEAST_S = 10.0


def looked_up(addresses: Iterable[str]) -> dict[str, Facts]:
    """As `facts`, of many addresses; what is not there, or cannot be asked, is left out, and so are local files.

    The folder that many of them have in common is listed, unless that takes longer than asking for each would.
    """
    buckets: dict[str, list[str]] = defaultdict(list)
    for address in dict.fromkeys(filter(is_stored, addresses)):
        buckets["/".join(address.split("/", 3)[:3])].append(address)
    found: dict[str, Facts] = {}
    for wanted in buckets.values():
        if len(wanted) >= _FEW and not bare(wanted[0]).startswith("http"):
            found |= _listed(wanted)
    left = [address for wanted in buckets.values() for address in wanted if address not in found]
    with ThreadPoolExecutor(_AT_ONCE, "posert-ask") as pool:
        asked = zip(left, pool.map(remote.present, left), strict=True)
        return found | {address: said[address] for address, said in asked if said}


def _listed(wanted: list[str]) -> dict[str, Facts]:
    """Those of the addresses, all of one bucket, that a listing of their common folder names in time."""
    listing: dict[str, Facts] = {}
    with suppress(PosertError):
        folder = common_folder(wanted)
        listing = remote.listing(folder, within_s=max(_LEAST_S, _ASK_S * len(wanted)))
    return {address: listing[address] for address in wanted if address in listing}
