"""edfast: the beam centre of an electron-diffraction pattern, in milliseconds, with its uncertainty.

Names are imported when they are first used: ``import edfast`` alone loads neither numba nor pyFAI nor matplotlib.
"""

from importlib.util import find_spec

import lazy_loader

if find_spec("edfast.kernels") is None:
    raise ImportError(
        f"edfast.kernels is not there beside {__file__}: this is edfast's source folder, which hides the installed package. "
        "Start Python in another folder, or install the source with 'pip install -e .'."
    )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"

del find_spec, lazy_loader
