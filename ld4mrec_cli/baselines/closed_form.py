"""Whether a closed form fits into the memory of this machine."""

from __future__ import annotations

from ld4mrec_cli import memory
from ld4mrec_cli.errors import UserError

WORKING_MATRICES = 3
"""Dense float64 item-item matrices that the closed form holds at a time: the Gram matrix, its factor, the result."""


def check_closed_form(n_items: int) -> None:
    """Refuse a catalogue whose dense item-item matrices are larger than the memory.

    Raises:
        UserError: names the items, the memory needed and what to use in its place.
    """
    needed, available = WORKING_MATRICES * n_items**2 * 8, memory.physical_memory()
    if available is not None and needed > available:
        what = f"ease needs about {needed / 1e9:,.1f} GB for {n_items:,} items, this machine has {available / 1e9:,.1f}"
        raise UserError(what, hint="Use itemknn, whose memory follows the interactions")
