"""Times of the public functions, and of the first use in a fresh process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import edfast
from edfast.geometry import Poni, to_integrator, write_poni
from edfast.simulate import BeamStop, ring_pattern, write_dm4


def ring_image(size, dtype="float32", stop=False):
    """A ring pattern in proportion to its size."""
    return ring_pattern((size, size), (0.48 * size, 0.51 * size), [0.15 * size, 0.25 * size], widths=0.01 * size,
                        amplitudes=[300, 1000], background=60, beamstop=BeamStop(0.06 * size) if stop else None, dtype=dtype,
                        random_state=0)[0]


class Fit:
    """fit_ellipse_to_ring by size and dtype."""

    params = ([256, 2048, 4096], ["float32", "uint16"])
    param_names = ("size", "dtype")

    def setup(self, size, dtype):
        self.image = ring_image(size, dtype)
        edfast.fit_ellipse_to_ring(self.image)

    def time_fit_ellipse_to_ring(self, size, dtype):
        edfast.fit_ellipse_to_ring(self.image)

    def peakmem_fit_ellipse_to_ring(self, size, dtype):
        edfast.fit_ellipse_to_ring(self.image)


class RingFit:
    """fit_ring by size, without and with a guess or the fit of another image."""

    params = (256, 2048, 4096)
    param_names = ("size",)

    def setup(self, size):
        self.image = ring_image(size, stop=True)
        self.fit = edfast.fit_ring(self.image)

    def time_fit_ring(self, size):
        edfast.fit_ring(self.image)

    def time_fit_ring_with_guess(self, size):
        edfast.fit_ring(self.image, center=self.fit.center)

    def time_fit_ring_like_another(self, size):
        edfast.fit_ring(self.image, like=self.fit)

    def peakmem_fit_ring(self, size):
        edfast.fit_ring(self.image)


class Files:
    """From a DM4 file and a PONI file to a PONI file."""

    params = (256, 2048)
    param_names = ("size",)

    def setup(self, size):
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.dm4, self.poni, self.output = folder / "ring.dm4", folder / "cal.poni", folder / "out.poni"
        write_dm4(self.dm4, ring_image(size), voltage_kv=200, pixel_size=5.0)
        half = size * 5e-6 / 2
        write_poni(self.poni, Poni(0.25, half, half, 0.0, 0.0, 0.0, 2.5e-12, 5e-6, 5e-6, (size, size)))
        self.time_recalibrate_with_beamstop(size)

    def teardown(self, size):
        self.folder.cleanup()

    def time_load_data(self, size):
        edfast.load_data(self.dm4, verbose=False)

    def time_read_poni(self, size):
        to_integrator(edfast.read_poni(self.poni))

    def time_recalibrate_with_beamstop(self, size):
        edfast.recalibrate_with_beamstop(self.dm4, self.poni, output_ponifile=self.output)

    def time_recalibrate_no_beamstop(self, size):
        edfast.recalibrate_no_beamstop(self.dm4, self.poni, self.output)


class FreshProcess:
    """Import time, and the first fit with the kernels in the cache."""

    timeout = 300

    def setup(self):
        np.save(self.image_file(), ring_image(256))
        self.time_first_fit()

    @staticmethod
    def image_file():
        return Path(tempfile.gettempdir()) / f"edfast-asv-{os.getpid()}.npy"

    def teardown(self):
        self.image_file().unlink()

    def timeraw_import(self):
        return "import edfast"

    def timeraw_import_numpy(self):
        return "import numpy"

    def time_first_fit(self):
        code = f"import numpy, edfast; edfast.fit_ellipse_to_ring(numpy.load({str(self.image_file())!r}))"
        subprocess.run([sys.executable, "-c", code], check=True)
