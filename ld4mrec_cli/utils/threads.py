"""Number of CPU threads of this process and of the processes that it starts."""

from __future__ import annotations

import os

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""Environment variables that limit the threads of libraries when they are loaded."""


def configure_threads(n_threads: int | None) -> None:
    """Compute with ``n_threads`` CPU threads in torch, OpenMP, BLAS and polars.

    Call it before the computation starts. Processes that are started later inherit the number.
    None keeps the defaults of the libraries.
    """
    if n_threads is None:
        return
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(n_threads)
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(n_threads)
    threadpool_limits(n_threads)  # acts on the libraries that are loaded already
