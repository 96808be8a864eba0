"""Put into pyFAI-calib2's process as its sitecustomize: note what its window has loaded, and close it.

The test puts this file on PYTHONPATH under that name and asks for the notes in the file that EDFAST_WATCH names.
"""

import json
import os
import sys
import time
from pathlib import Path

SECONDS = 60


def watch(window, qt, context):
    """Look every 50 ms until all is loaded, or the time is over; write down what there is, and close the window."""
    end = time.monotonic() + SECONDS
    timer = qt.QTimer(window)

    def look():
        settings = context.getCalibrationModel().experimentSettingsModel()
        image, calibrant = settings.image().value(), settings.calibrantModel().calibrant()
        wavelength, detector = settings.wavelength().value(), settings.detectorModel().detector()
        geometry = context.getCalibrationModel().fittedGeometry()
        ready = window.isVisible() and image is not None and calibrant is not None and wavelength
        if not ready and time.monotonic() < end:
            return
        timer.stop()
        notes = {"visible": window.isVisible(), "title": window.windowTitle(), "wavelength": wavelength,
                 "image": None if image is None else image.tolist(), "file": settings.image().filename(),
                 "calibrant": None if calibrant is None else list(calibrant.dspacing),
                 "pixel": detector and [detector.pixel1, detector.pixel2], "distance": geometry.distance().value()}
        Path(os.environ["EDFAST_WATCH"]).write_text(json.dumps(notes))
        window.close()

    timer.timeout.connect(look)
    timer.start(50)


if "EDFAST_WATCH" in os.environ and "pyFAI.app.calib2" in sys.orig_argv:
    from pyFAI.gui import CalibrationWindow as module
    from silx.gui import qt

    show = module.CalibrationWindow.setVisible

    def set_visible(self, visible):
        """As before, and start to look."""
        show(self, visible)
        from pyFAI.gui.CalibrationContext import CalibrationContext

        watch(self, qt, CalibrationContext.instance())

    module.CalibrationWindow.setVisible = set_visible
