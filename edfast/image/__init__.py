"""The image toolbox: radial profiles, quaternions, classification, hit finding and repair, and the files that go with them.

Centres are given in array-axis order, (axis 0, axis 1), as the toolbox's document has them: for an image, (row, column).
Names are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
