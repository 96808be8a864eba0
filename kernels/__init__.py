"""Kernels of edfast: raw C-contiguous arrays in, raw arrays out; no checks, no files, numpy and numba only.

Installed as ``edfast.kernels``. The friendly functions around them check, cast and document; call those.
"""
