"""Slow, obvious twins of the kernels in `edfast.kernels.tracking`."""

import numpy as np


def blocks_of_annuli(lo, step, first, size, e1, e2, n_sectors):
    """{(dx, dy): (cell, radius)} of the blocks whose middles lie in annuli about the origin."""
    values, vectors = np.linalg.eigh([[e1, e2], [e2, -e1]])
    stretch = vectors @ np.diag(np.exp(-values)) @ vectors.T
    reach = int((lo + step * np.diff(first)).max() * np.exp(np.hypot(e1, e2)) / size) + 3
    begin, found = np.arctan2(stretch[0, 1], stretch[0, 0]), {}
    for row in range(-reach, reach):
        for column in range(-reach, reach):
            u, v = stretch @ (np.array([column, row]) * size + (size - 1) / 2)
            r, sector = np.hypot(u, v), int((np.arctan2(v, u) - begin) % (2 * np.pi) / (2 * np.pi) * n_sectors) % n_sectors
            for g in range(len(lo)):
                i = int(np.floor((r - lo[g]) / step[g]))
                if 0 <= i < first[g + 1] - first[g]:
                    found[column * size, row * size] = (first[g] + i) * n_sectors + sector, r
    return found


def gather(image, size, offsets, cells, number):
    """Sums of the blocks that begin at `offsets` of the flat image, by cell."""
    sums = np.zeros(number)
    for offset, cell in zip(offsets.tolist(), cells.tolist(), strict=True):
        y, x = divmod(offset, image.shape[1])
        sums[cell] += image[y:y + size, x:x + size].astype(float).sum()
    return sums


def columns(places, here, widths, heights, middle, half, along):
    """Model columns of one sector of one group, (3 n + 2, bins): T, 1, x, slopes over place and width of each ring."""
    u = (places - here[:, None]) / widths[:, None]
    shape = np.where(np.abs(u) < 5, np.exp(-0.5 * u * u), 0)
    x = (places - along - middle) / half
    move = heights[:, None] * shape * u / widths[:, None]
    return np.concatenate([shape, [np.ones(len(places)), x], move, move * u])
