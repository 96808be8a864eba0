from . import calibration as calibration
from . import filereader as filereader
from . import geometry as geometry
from . import plots as plots
from . import recalibration as recalibration
from . import rings as rings
from . import simulate as simulate
from .calibration import Calibration as Calibration
from .calibration import CalibrationError as CalibrationError
from .calibration import build_calibration_data_from_cif as build_calibration_data_from_cif
from .calibration import calibrate as calibrate
from .calibration import example_cif as example_cif
from .calibration import get_calibration_parameters as get_calibration_parameters
from .calibration import perform_geometric_calibration as perform_geometric_calibration
from .filereader import load_data as load_data
from .geometry import Poni as Poni
from .geometry import electron_wavelength as electron_wavelength
from .geometry import read_poni as read_poni
from .geometry import write_poni as write_poni
from .recalibration import center_to_poni as center_to_poni
from .recalibration import fit_ellipse_to_ring as fit_ellipse_to_ring
from .recalibration import recalibrate_no_beamstop as recalibrate_no_beamstop
from .recalibration import recalibrate_with_beamstop as recalibrate_with_beamstop
from .recalibration import update_ai as update_ai
from .rings import RingNotFoundError as RingNotFoundError
from .rings import fit_ring as fit_ring

__version__: str
