from . import classify as classify
from . import io as io
from . import preprocess as preprocess
from . import quat as quat
from . import radp as radp
