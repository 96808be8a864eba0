"""The same jobs by other programs, as a user of them would write the job: what edfast's times are measured against."""

import numpy as np


def scikit_image_fit(image, threshold_rel=0.5, min_size=50):
    """The documented fit, (cx, cy), with scikit-image 0.26 (or newer)."""
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops
    from skimage.morphology import remove_small_objects

    bright = remove_small_objects(image > threshold_otsu(image) * threshold_rel, max_size=min_size - 1)
    largest = max(regionprops(label(bright, connectivity=2)), key=lambda region: region.area)
    cy, cx = largest.centroid
    np.linalg.eigh(np.cov(largest.coords[:, ::-1].T))
    return cx, cy


def opencv_fit(image, threshold_rel=0.5):
    """The documented fit as far as OpenCV can: 8-bit Otsu, 8-connected components, moments of the largest."""
    import cv2

    codes = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    otsu, _ = cv2.threshold(codes, 0, 255, cv2.THRESH_OTSU)
    _, bright = cv2.threshold(codes, otsu * threshold_rel, 1, cv2.THRESH_BINARY)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    moments = cv2.moments((labels == largest).astype(np.uint8), binaryImage=True)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def documented_recalibration(dm4_file, poni_file, output):
    """The recalibration document's road from a DM4 file to a PONI file: ncempy, scikit-image, pyFAI.load and save."""
    import pyFAI
    from ncempy.io import dm

    image = dm.dmReader(str(dm4_file))["data"]
    cx, cy = scikit_image_fit(image)
    ai = pyFAI.load(str(poni_file))
    height, width = image.shape
    x, y = {1: (width - cx, height - cy), 2: (cx, height - cy), 3: (cx, cy), 4: (width - cx, cy)}[ai.detector.orientation or 3]
    cos, sin = np.cos([ai.rot1, ai.rot2, ai.rot3]), np.sin([ai.rot1, ai.rot2, ai.rot3])
    rx = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    ry = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    rz = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    ai.poni1, ai.poni2, _ = np.linalg.inv(rz @ ry @ rx) @ [y * ai.pixel1, x * ai.pixel2, ai.dist]
    output.unlink(missing_ok=True)
    ai.save(str(output))
    return cx, cy
